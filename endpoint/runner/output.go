package runner

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"reeve/api/wire"
)

// mask stands in the output where a secret was.
const mask = "[secret]"

// capture hands the output of a process on: secrets struck out, cut into bounded pieces, no more
// than the limit per stream.
type capture struct {
	mu    sync.Mutex // the streams are copied by two goroutines, and out sees one piece at a time
	out   Output
	limit int64
}

// stream is the io.Writer of one of the two outputs.
type stream struct {
	name      Stream
	to        *capture
	strike    *striker
	offset    int64
	truncated bool
}

func (c *capture) stream(name Stream, secrets []string) *stream {
	return &stream{name: name, to: c, strike: newStriker(secrets)}
}

// Write never fails: a process must not die of writing more than is kept.
func (s *stream) Write(p []byte) (int, error) {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.emit(s.strike.next(p))
	return len(p), nil
}

// flush hands on what the striker still held back.
func (s *stream) flush() {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	s.emit(s.strike.rest())
}

func (s *stream) emit(b []byte) {
	if room := s.to.limit - s.offset; int64(len(b)) > room {
		b, s.truncated = b[:room], true
	}
	for piece := range slices.Chunk(b, wire.MaxOutputChunk) {
		s.to.out(s.name, s.offset, piece)
		s.offset += int64(len(piece))
	}
}

// striker replaces secrets in a stream, also when one arrives in pieces. It holds back only bytes
// that may be the beginning of a secret, so live output stays live.
type striker struct {
	secrets []string // longest first
	held    []byte
}

func newStriker(secrets []string) *striker {
	s := &striker{}
	for _, secret := range secrets {
		if secret != "" {
			s.secrets = append(s.secrets, secret)
		}
	}
	slices.SortFunc(s.secrets, func(a, b string) int { return len(b) - len(a) })
	return s
}

func (s *striker) next(p []byte) []byte {
	if len(s.secrets) == 0 {
		return p
	}
	s.held = append(s.held, p...)
	var out []byte
	for {
		at, length := s.find()
		wait := s.mayBegin()
		if length == 0 || wait < at || (wait == at && s.mayGrow(at, length)) {
			out = append(out, s.held[:wait]...)
			s.held = bytes.Clone(s.held[wait:])
			return out
		}
		out = append(append(out, s.held[:at]...), mask...)
		s.held = s.held[at+length:]
	}
}

func (s *striker) rest() []byte {
	held := s.held
	s.held = nil
	for _, secret := range s.secrets {
		held = bytes.ReplaceAll(held, []byte(secret), []byte(mask))
	}
	return held
}

// find gives the first whole secret, the longest of those that begin there.
func (s *striker) find() (at, length int) {
	at = len(s.held)
	for _, secret := range s.secrets {
		if i := bytes.Index(s.held, []byte(secret)); i >= 0 && i < at {
			at, length = i, len(secret)
		}
	}
	return at, length
}

// mayBegin is where a secret might have begun that has not arrived whole.
func (s *striker) mayBegin() int {
	first := len(s.held)
	for _, secret := range s.secrets {
		for i := max(0, len(s.held)-len(secret)+1); i < first; i++ {
			if strings.HasPrefix(secret, string(s.held[i:])) {
				first = i
				break
			}
		}
	}
	return first
}

// mayGrow says whether the secret found at a place may be the beginning of a longer one.
func (s *striker) mayGrow(at, length int) bool {
	return slices.ContainsFunc(s.secrets, func(secret string) bool {
		return len(secret) > length && strings.HasPrefix(secret, string(s.held[at:]))
	})
}
