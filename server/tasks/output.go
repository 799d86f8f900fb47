package tasks

import (
	"strings"
	"unicode/utf8"

	"reeve/api/wire"
)

// The streams of a task.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

const (
	blockSize = 32 << 10
	maxOutput = wire.MaxOutputBytes // of each stream
	tailSize  = 64 << 10            // what a list shows of each stream
)

// Chunk is a piece of output at a byte offset of its stream.
type Chunk struct {
	Stream string
	Offset int64
	Data   []byte
}

// stream is one output stream while updates are applied to it.
type stream struct {
	stored    int64  // before
	added     []byte // now
	truncated bool
}

// take appends what of a chunk is new: pieces that overlap are trimmed, repetitions vanish, and what
// goes beyond the cap is cut. It tells whether bytes before the chunk are missing.
func (s *stream) take(c Chunk) (gap bool) {
	have := s.stored + int64(len(s.added))
	switch {
	case len(c.Data) == 0 || c.Offset < 0:
		return false
	case have >= maxOutput:
		s.truncated = s.truncated || c.Offset+int64(len(c.Data)) > have
		return false
	case c.Offset > have:
		return true
	case c.Offset+int64(len(c.Data)) <= have:
		return false
	}
	data := c.Data[have-c.Offset:]
	if room := maxOutput - have; int64(len(data)) > room {
		data, s.truncated = data[:room], true
	}
	s.added = append(s.added, data...)
	return false
}

// block is a piece of output as it is stored.
type block struct {
	number int
	data   []byte
}

// blocks divides what was added at the borders of the stored blocks.
func (s *stream) blocks() []block {
	var all []block
	at, data := s.stored, s.added
	for len(data) > 0 {
		n := min(int(blockSize-at%blockSize), len(data))
		all = append(all, block{number: int(at / blockSize), data: data[:n]})
		at, data = at+int64(n), data[n:]
	}
	return all
}

// text makes bytes safe to send: valid UTF-8 without NUL. While the stream goes on, a character that is
// cut at its end is left for the next time; used is how many bytes the text stands for.
func text(b []byte, over bool) (s string, used int) {
	used = len(b)
	if !over {
		used -= incomplete(b)
	}
	return strings.ReplaceAll(strings.ToValidUTF8(string(b[:used]), "�"), "\x00", "�"), used
}

// incomplete is how many bytes at the end begin a character that is not there whole.
func incomplete(b []byte) int {
	for n := 1; n <= min(utf8.UTFMax-1, len(b)); n++ {
		c := b[len(b)-n]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// tail is the end of a stream, beginning with a whole character.
func tail(b []byte, size int) []byte {
	if len(b) <= size {
		return b
	}
	b = b[len(b)-size:]
	for n := 0; n < utf8.UTFMax && n < len(b); n++ {
		if utf8.RuneStart(b[n]) {
			return b[n:]
		}
	}
	return b
}
