package tasks

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// However a stream is cut into pieces, repeated and overlapped, what is stored is its beginning, byte by
// byte, up to the cap.
func TestPiecesOfOutputMakeTheStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{0, 1, 100, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 17, maxOutput, maxOutput + 5000}).Draw(t, "size")
		source := make([]byte, size)
		for i := range source {
			source[i] = byte(i * 31 / 7)
		}
		stored := map[int][]byte{}
		length, truncated := int64(0), false
		for round := 0; length < int64(min(size, maxOutput)); round++ {
			s := &stream{stored: length, truncated: truncated}
			for range rapid.IntRange(1, 4).Draw(t, "pieces") {
				have := s.stored + int64(len(s.added))
				// Mostly what comes next, now and then from before, sometimes beyond.
				offset := have - int64(rapid.SampledFrom([]int{0, 0, 1, 700, 50000}).Draw(t, "back"))
				offset = max(0, offset+int64(rapid.SampledFrom([]int{0, 0, 0, 0, 9}).Draw(t, "gap")))
				if offset > int64(size) {
					continue
				}
				end := min(int64(size), offset+int64(rapid.IntRange(0, 200_000).Draw(t, "length")))
				gap := s.take(Chunk{Offset: offset, Data: source[offset:end]})
				if gap != (offset > have && end > offset && have < maxOutput) {
					t.Fatalf("gap=%t at %d with %d stored", gap, offset, have)
				}
			}
			for _, b := range s.blocks() {
				if len(stored[b.number])+len(b.data) > blockSize {
					t.Fatalf("block %d overflows", b.number)
				}
				stored[b.number] = append(stored[b.number], b.data...)
			}
			length, truncated = s.stored+int64(len(s.added)), s.truncated
			if round > 10_000 {
				t.Fatal("no progress")
			}
		}
		var whole []byte
		for n := range len(stored) {
			whole = append(whole, stored[n]...)
		}
		if !bytes.Equal(whole, source[:min(size, maxOutput)]) {
			t.Fatalf("%d bytes stored of %d differ from what was sent", len(whole), size)
		}
		if truncated && size <= maxOutput {
			t.Fatal("nothing was cut and yet the stream says so")
		}
	})
}

func TestTheCutIsFlagged(t *testing.T) {
	t.Parallel()
	s := &stream{}
	s.take(Chunk{Offset: 0, Data: make([]byte, maxOutput)})
	if s.truncated {
		t.Error("exactly the cap is not cut")
	}
	s.take(Chunk{Offset: maxOutput, Data: []byte("x")})
	if !s.truncated || len(s.added) != maxOutput {
		t.Errorf("beyond the cap: truncated=%t, %d bytes", s.truncated, len(s.added))
	}
}

// Whatever bytes come, and however reading is cut, the text is valid, without NUL, and whole.
func TestTextIsSafeAndWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(rapid.StringN(0, 40, -1).Draw(t, "text"))
		b = append(b, rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "bytes")...)
		var read strings.Builder
		at := 0
		for at < len(b) {
			end := min(len(b), at+rapid.IntRange(4, 9).Draw(t, "step"))
			s, used := text(b[at:end], end == len(b))
			if used == 0 {
				t.Fatalf("no progress at %d of %q", at, b)
			}
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				t.Fatalf("unsafe text %q", s)
			}
			read.WriteString(s)
			at += used
		}
		valid := utf8.Valid(b)
		if want := strings.ReplaceAll(string(b), "\x00", "�"); valid && read.String() != want {
			t.Fatalf("read %q, want %q", read.String(), want)
		}
	})
}

func TestTailBeginsWithAWholeCharacter(t *testing.T) {
	t.Parallel()
	b := []byte(strings.Repeat("ä", 100))
	if got := tail(b, 51); !utf8.Valid(got) || len(got) != 50 {
		t.Errorf("%d bytes, valid=%t", len(got), utf8.Valid(got))
	}
}
