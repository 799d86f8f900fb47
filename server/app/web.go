package app

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io/fs"
	"mime"
	"path"
	"strings"

	"github.com/gofiber/fiber/v2"

	"reeve/api/fault"
	"reeve/server/portal"
)

// notBuilt is served in place of a portal that was not built into this binary.
const notBuilt = "<!doctype html><meta charset=utf-8><title>Reeve</title><h1>The portal is not built</h1>" +
	"<p>Run <code>make portal</code> and build the server again. The API works without it.</p>"

// servePortal answers every address that is not the API's with the portal: files under assets/ by
// their hashed names, everything else with its one page, so that each page's address can be shared.
func servePortal(app *fiber.App, files fs.FS) error {
	index := []byte(notBuilt)
	if portal.Built() {
		var err error
		if index, err = fs.ReadFile(files, "index.html"); err != nil {
			return fmt.Errorf("reading the portal: %w", err)
		}
	}
	app.Use(func(c *fiber.Ctx) error {
		if c.Method() != fiber.MethodGet && c.Method() != fiber.MethodHead {
			return fault.Newf(fault.MethodNotAllowed, "%s is not possible here", c.Method())
		}
		p := c.Path()
		if strings.HasPrefix(p, "/agent/") {
			return fault.New(fault.NotFound, "there is nothing at this address")
		}
		if name := strings.TrimPrefix(path.Clean(p), "/"); path.Ext(name) != "" && name != "index.html" {
			return serveFile(c, files, name)
		}
		return servePage(c, index)
	})
	return nil
}

func serveFile(c *fiber.Ctx, files fs.FS, name string) error {
	b, err := fs.ReadFile(files, name)
	if err != nil {
		return fault.New(fault.NotFound, "there is no such file")
	}
	if strings.HasPrefix(name, "assets/") {
		c.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
	} else {
		c.Set(fiber.HeaderCacheControl, "no-cache")
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		c.Set(fiber.HeaderContentType, t)
	}
	return c.Send(b)
}

// servePage sends the page with a nonce of its own: nothing inline runs or styles without it.
func servePage(c *fiber.Ctx, index []byte) error {
	var random [18]byte
	_, _ = rand.Read(random[:]) // never fails
	nonce := base64.RawURLEncoding.EncodeToString(random[:])
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+"'; "+
		"img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; "+
		"base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set(fiber.HeaderContentType, fiber.MIMETextHTMLCharsetUTF8)
	return c.Send(bytes.ReplaceAll(index, []byte(portal.NoncePlaceholder), []byte(nonce)))
}
