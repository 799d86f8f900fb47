package wire

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestFramesSurviveTheWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Frame{
			Type: FrameType(rapid.IntRange(1, 255).Draw(t, "type")), Number: rapid.Uint64().Draw(t, "number"),
			Channel: rapid.Uint32().Draw(t, "channel"), Payload: rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "payload"),
		}
		got, err := ParseFrame(f.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got.Type != f.Type || got.Number != f.Number || got.Channel != f.Channel || !bytes.Equal(got.Payload, f.Payload) {
			t.Fatalf("%+v became %+v", f, got)
		}
	})
}

func TestMalformedFrames(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, make([]byte, frameHeader), Frame{Type: FrameLiveData, Payload: make([]byte, MaxLiveData+1)}.Bytes()} {
		if _, err := ParseFrame(b); !errors.Is(err, ErrFrame) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

func TestFlowNeverOverrunsAndNeverStalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := NewFlow(), NewFlow()
		left := rapid.IntRange(0, 3*LiveWindow).Draw(t, "bytes")
		for left > 0 {
			n := a.Sendable(min(left, rapid.IntRange(1, MaxLiveData).Draw(t, "piece")))
			if n == 0 {
				t.Fatal("the sender is out of credit though everything was consumed")
			}
			number, err := a.Send(n)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Receive(number, n); err != nil {
				t.Fatal(err)
			}
			left -= n
			if credit := b.Consumed(n); credit > 0 {
				if err := a.Credited(credit); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestFlowEndsOnGapOverrunAndFalseCredit(t *testing.T) {
	f := NewFlow()
	if err := f.Receive(2, 1); !errors.Is(err, ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	for i := range LiveWindow / MaxLiveData {
		if err := f.Receive(uint64(i+1), MaxLiveData); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Receive(LiveWindow/MaxLiveData+1, 1); !errors.Is(err, ErrCredit) {
		t.Errorf("an overrun: %v", err)
	}
	if err := NewFlow().Credited(1); !errors.Is(err, ErrCredit) {
		t.Errorf("more than a window: %v", err)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(Frame{Type: FrameRing, Number: 7}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := ParseFrame(b)
		if err == nil && !bytes.Equal(frame.Bytes(), b) {
			t.Errorf("%x does not encode as it was read", b)
		}
	})
}
