package rest

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// nearestStranger leaves in the header of the proxies only the address that they vouch for: the last
// one that is not itself a trusted proxy. What stands before it was written by the client, and the
// framework would take the first.
func nearestStranger(c *fiber.Ctx) {
	config := c.App().Config()
	if config.ProxyHeader == "" || !c.IsProxyTrusted() {
		return // nobody reads the header
	}
	var hops []string
	for _, line := range c.Request().Header.PeekAll(config.ProxyHeader) {
		hops = append(hops, strings.Split(string(line), ",")...)
	}
	c.Request().Header.Del(config.ProxyHeader)
	for _, hop := range slices.Backward(hops) {
		address, err := hopAddress(hop)
		if err != nil {
			return // what stands before it cannot be believed either
		}
		c.Request().Header.Set(config.ProxyHeader, address.String())
		if !amongProxies(address, config.TrustedProxies) {
			return
		}
	}
}

func hopAddress(hop string) (netip.Addr, error) {
	hop = strings.TrimSpace(hop)
	if withPort, err := netip.ParseAddrPort(hop); err == nil {
		return withPort.Addr().Unmap().WithZone(""), nil
	}
	address, err := netip.ParseAddr(hop)
	return address.Unmap().WithZone(""), err
}

func amongProxies(address netip.Addr, trusted []string) bool {
	return slices.ContainsFunc(trusted, func(text string) bool {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			return prefix.Contains(address)
		}
		one, err := netip.ParseAddr(text)
		return err == nil && one.Unmap() == address
	})
}

// BodyRead is the local by which a handler that reads the body's stream itself says that it came to its end.
const BodyRead = "reeve.body_read"

// closeUnlessRead ends the connection after an answer that was given before the body had come: the rest
// of it would be taken for the next request, which a proxy in front might answer to somebody else. A body
// in chunks ends it always, because a proxy may have gone by a length that came beside them.
func closeUnlessRead(c *fiber.Ctx, length int) {
	unread := c.Context().RequestBodyStream() != nil && c.Locals(BodyRead) == nil && length != 0
	if unread || length == chunked {
		c.Context().SetConnectionClose()
	}
}

// chunked is the length of a body that comes in chunks, as the framework says it.
const chunked = -1
