package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// FrameType says what a frame of the WebSocket is.
type FrameType byte

// The frames. A frame of an unknown type is ignored, so that newer peers may say more.
const (
	FrameRing         FrameType = 1  // server → endpoint: sync now
	FrameSyncRequest  FrameType = 2  // endpoint → server: an api.SyncRequest; Number pairs it with its answer
	FrameSyncResponse FrameType = 3  // server → endpoint: the api.SyncReply to the request of the same Number
	FrameSyncProblem  FrameType = 4  // server → endpoint: an api.Problem in place of a reply
	FrameLiveOpen     FrameType = 5  // server → endpoint: a LiveOpen starts a session on Channel
	FrameLiveData     FrameType = 6  // both: bytes of a session; Number counts them per direction from 1
	FrameLiveCredit   FrameType = 7  // both: the peer may send Number more bytes on Channel
	FrameLiveClose    FrameType = 8  // both: the session is over; the payload is a LiveClose
	FramePing         FrameType = 9  // both: answered by a pong of the same Number
	FramePong         FrameType = 10 // both
)

const (
	frameHeader = 1 + 8 + 4
	// MaxFrameBytes bounds any frame; a larger message ends the connection.
	MaxFrameBytes = MaxSyncBytes + frameHeader
	// MaxLiveData bounds the bytes of one live data frame.
	MaxLiveData = 32 << 10
	// LiveWindow is the credit each side of a session starts with.
	LiveWindow = 256 << 10
)

// Errors of the live channel; each of them ends the session visibly, never silently.
var (
	ErrFrame  = errors.New("the frame is malformed")
	ErrGap    = errors.New("a piece of the session was lost")
	ErrCredit = errors.New("the peer sent more than it was allowed to")
)

// Frame is one binary message of the WebSocket: type, number, channel (big endian), payload.
type Frame struct {
	Type    FrameType
	Number  uint64
	Channel uint32
	Payload []byte
}

// LiveOpen is the payload of FrameLiveOpen.
type LiveOpen struct {
	Kind string            `json:"kind"`
	Args map[string]string `json:"args,omitempty"`
}

// LiveClose is the payload of FrameLiveClose.
type LiveClose struct {
	Reason string `json:"reason"`
}

// Bytes encodes a frame.
func (f Frame) Bytes() []byte {
	b := make([]byte, frameHeader, frameHeader+len(f.Payload))
	b[0] = byte(f.Type)
	binary.BigEndian.PutUint64(b[1:], f.Number)
	binary.BigEndian.PutUint32(b[9:], f.Channel)
	return append(b, f.Payload...)
}

// ParseFrame decodes a message. The payload is a part of b, not a copy.
func ParseFrame(b []byte) (Frame, error) {
	if len(b) < frameHeader || len(b) > MaxFrameBytes {
		return Frame{}, fmt.Errorf("%w: %d bytes", ErrFrame, len(b))
	}
	f := Frame{Type: FrameType(b[0]), Number: binary.BigEndian.Uint64(b[1:]), Channel: binary.BigEndian.Uint32(b[9:]), Payload: b[frameHeader:]}
	if f.Type == 0 {
		return Frame{}, fmt.Errorf("%w: type 0", ErrFrame)
	}
	if f.Type == FrameLiveData && len(f.Payload) > MaxLiveData {
		return Frame{}, fmt.Errorf("%w: %d bytes of live data", ErrFrame, len(f.Payload))
	}
	return f, nil
}

// Flow counts one session's numbers and credit in both directions. It is not safe for concurrent
// use: a session's owner guards it. The zero value has no credit; use NewFlow.
type Flow struct {
	sent, received uint64
	maySend        int // bytes we may still send
	mayReceive     int // bytes the peer may still send
	owed           int // bytes consumed here for which no credit was given yet
}

// NewFlow gives both sides a full window.
func NewFlow() *Flow { return &Flow{maySend: LiveWindow, mayReceive: LiveWindow} }

// Sendable is how many of n bytes may go now, in one frame.
func (f *Flow) Sendable(n int) int { return min(n, f.maySend, MaxLiveData) }

// Send counts a data frame of n bytes and gives its number.
func (f *Flow) Send(n int) (number uint64, err error) {
	if n > f.maySend {
		return 0, ErrCredit
	}
	f.maySend -= n
	f.sent++
	return f.sent, nil
}

// Receive checks the number and size of an arriving data frame.
func (f *Flow) Receive(number uint64, n int) error {
	if number != f.received+1 {
		return ErrGap
	}
	if n > f.mayReceive {
		return ErrCredit
	}
	f.received, f.mayReceive = number, f.mayReceive-n
	return nil
}

// Credited adds what the peer allows us; more than a window is a fault of the peer.
func (f *Flow) Credited(n uint64) error {
	if n == 0 || n > LiveWindow || f.maySend+int(n) > LiveWindow {
		return ErrCredit
	}
	f.maySend += int(n)
	return nil
}

// Consumed notes n bytes as used up here. When half a window is owed it gives the credit to send
// to the peer, else 0.
func (f *Flow) Consumed(n int) (credit uint64) {
	f.owed += n
	if f.owed < LiveWindow/2 {
		return 0
	}
	n, f.owed = f.owed, 0
	f.mayReceive += n
	return uint64(n)
}
