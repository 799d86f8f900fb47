package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"mime"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"gorm.io/gorm"

	"reeve/api"
	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/auth"
	"reeve/server/fleet"
	"reeve/tenants/scope"
)

// maxEnrolBytes bounds a request to join.
const maxEnrolBytes = 16 << 10

// bodyRead marks a request whose body was read to its end.
const bodyRead = "reeve.body_read"

// readBody reads a JSON body of at most limit bytes. It reads the stream itself: with streaming on the
// framework enforces no limit, and it would unpack a compressed body to any size.
func readBody(c *fiber.Ctx, limit int) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	if err != nil || kind != fiber.MIMEApplicationJSON {
		return nil, fault.New(fault.UnsupportedMedia, "send application/json")
	}
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return nil, fault.New(fault.UnsupportedMedia, "send the body as it is, not compressed")
	}
	tooLarge := fault.Newf(fault.TooLarge, "the body has at most %d bytes", limit)
	if c.Request().Header.ContentLength() > limit {
		return nil, tooLarge
	}
	stream := c.Context().RequestBodyStream()
	if stream == nil {
		body := c.Request().Body()
		if len(body) > limit {
			return nil, tooLarge
		}
		c.Locals(bodyRead, true)
		return append([]byte(nil), body...), nil
	}
	body, err := io.ReadAll(io.LimitReader(stream, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fault.Wrap(fault.Invalid, "the body could not be read", err)
	case len(body) > limit:
		return nil, tooLarge
	}
	c.Locals(bodyRead, true)
	return body, nil
}

// bearer is the claim of an endpoint.
func bearer(c *fiber.Ctx) (string, error) {
	kind, token, found := strings.Cut(c.Get(fiber.HeaderAuthorization), " ")
	if !found || !strings.EqualFold(kind, "bearer") || token == "" {
		return "", auth.ErrUnauthenticated
	}
	return strings.Clone(token), nil
}

// serveSync carries a sync over HTTPS.
func (s *Service) serveSync(c *fiber.Ctx) error {
	start := s.o.Now()
	reply, err := s.syncOverHTTP(c)
	s.observe("https", start, err)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Send(reply)
}

func (s *Service) syncOverHTTP(c *fiber.Ctx) ([]byte, error) {
	token, err := bearer(c)
	if err != nil {
		return nil, err
	}
	d, err := s.authenticate(c.UserContext(), token)
	if err != nil {
		return nil, err
	}
	if !d.enter() {
		return nil, s.busy(errTooMany)
	}
	defer d.leave()
	body, err := readBody(c, wire.MaxSyncBytes)
	if err != nil {
		return nil, err
	}
	return s.Sync(c.UserContext(), d, strings.Clone(c.IP()), body)
}

func (s *Service) observe(carrier string, start time.Time, err error) {
	if s.o.Observe.Sync != nil {
		s.o.Observe.Sync(carrier, s.o.Now().Sub(start), err)
	}
}

// serveEnrol lets a machine join.
func (s *Service) serveEnrol(c *fiber.Ctx) error {
	address := strings.Clone(c.IP())
	if err := s.limits.enrol(address); err != nil {
		return s.busy(errTooMany)
	}
	body, err := readBody(c, maxEnrolBytes)
	if err != nil {
		return err
	}
	reply, err := s.Enrol(c.UserContext(), address, body)
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusCreated).JSON(reply)
}

// Enrol admits a machine that holds an enrolment token and the key it names. Many machines that join
// at once are committed together.
func (s *Service) Enrol(ctx context.Context, address string, body []byte) (api.EnrolReply, error) {
	e, err := enrolmentOf(body)
	if err != nil {
		return api.EnrolReply{}, err
	}
	e.Address = address
	joined, err := s.enrols.Do(ctx, e)
	if err == nil {
		err = joined.Err
	}
	if err != nil {
		return api.EnrolReply{}, err
	}
	keys, err := s.o.TaskKeys(ctx)
	if err != nil {
		return api.EnrolReply{}, err
	}
	return api.EnrolReply{DeviceID: joined.DeviceID, TenantID: joined.TenantID, State: api.DeviceState(joined.State),
		TaskKeys: orEmpty(keys), ServerTime: s.o.Now().UTC(), IntervalSeconds: fleet.DefaultInterval}, nil
}

// enrolmentOf reads a request to join and checks that its sender holds the key.
func enrolmentOf(body []byte) (fleet.Enrolment, error) {
	if err := fleet.CheckDepth(body, maxDepth); err != nil {
		return fleet.Enrolment{}, fault.New(fault.Invalid, "the message "+err.Error())
	}
	o, ok := objectOf(body)
	if !ok {
		return fleet.Enrolment{}, fault.New(fault.Invalid, "the message is no JSON object")
	}
	e := fleet.Enrolment{Token: o.text("token", 300), Hostname: o.text("hostname", 255), OSFamily: o.text("os_family", 20),
		OSName: o.text("os_name", 120), OSVersion: o.text("os_version", 120), Arch: o.text("arch", 20), AgentVersion: o.text("agent_version", 60),
		MachineID: o.text("machine_id", 200), Serial: o.text("serial", 200), Simulated: o.flag("simulated")}
	protocol, isNumber := o.number("protocol")
	var f fault.Fields
	f.Check(isNumber && protocol >= 1 && protocol <= maxProtocol, "/protocol", "must be a number from 1")
	f.Check(e.Token != "", "/token", "must be an enrolment token")
	for name, value := range map[string]string{"hostname": e.Hostname, "os_family": e.OSFamily, "arch": e.Arch, "agent_version": e.AgentVersion} {
		f.Check(value != "", "/"+name, "must be a text")
	}
	e.PublicKey = o.bytes("public_key")
	f.Check(len(e.PublicKey) == ed25519.PublicKeySize, "/public_key", "must be an Ed25519 key, 32 bytes in base64")
	if err := f.Err(); err != nil {
		return e, err
	}
	if weak(e.PublicKey) {
		return e, fault.InvalidField("/public_key", "must be a key that only its holder can sign with, for its /proof to mean anything")
	}
	if !ed25519.Verify(e.PublicKey, []byte(e.Token), o.bytes("proof")) {
		return e, fault.InvalidField("/proof", "must be the signature of the key over the token")
	}
	return e, nil
}

// admit commits enrolments together.
func (s *Service) admit(ctx context.Context, list []fleet.Enrolment) ([]fleet.Enrolled, error) {
	var results []fleet.Enrolled
	err := s.o.DB.System(scope.AsSystem(ctx, "gateway"), func(tx *gorm.DB) (err error) {
		results, err = s.o.Fleet.EnrolTx(tx, list)
		return err
	})
	return results, err
}

func (s *Service) serveCA(c *fiber.Ctx) error {
	if len(s.o.CA) == 0 {
		return fault.New(fault.NotFound, "this server has no certificate authority of its own")
	}
	c.Set(fiber.HeaderContentType, "application/x-pem-file")
	return c.Send(s.o.CA)
}

func (s *Service) serveDownload(c *fiber.Ctx) error {
	if s.o.Downloads == nil {
		return errNoDownload
	}
	file, size, err := s.o.Downloads.open(strings.Clone(c.Params("file")))
	if err != nil {
		if errors.Is(err, errNoDownload) {
			return errNoDownload
		}
		return fault.Wrap(fault.NotFound, errNoDownload.Message, err)
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEOctetStream)
	c.Set(fiber.HeaderContentDisposition, "attachment")
	return c.SendStream(file, int(size))
}
