// Package wire is what server and endpoint sign and frame: the task envelope, the device's claims,
// the bodies of tasks and the frames of the WebSocket.
package wire

import "time"

// Protocol is the number an endpoint of this build announces. It grows only when an older peer could
// misunderstand a newer one; new optional fields do not need it.
const Protocol = 1

// What the token of a device must say. It is signed by the device's own key, with the device id as
// kid, issuer and subject.
const (
	Audience  = "reeve-agent"
	TokenType = "reeve-agent+jwt"
	// MaxTokenLife is the longest time between iat and exp; a copied token is worth little.
	MaxTokenLife = 2 * time.Minute
)

// Paths of the endpoint protocol, relative to the server's address.
const (
	PathEnrol   = "/agent/v1/enrol"
	PathSync    = "/agent/v1/sync"
	PathConnect = "/agent/v1/connect"
	PathCA      = "/agent/v1/ca.pem"
)

// Limits of the messages, which each side enforces on what it reads.
const (
	// MaxSyncBytes bounds a sync request and its reply, on both carriers.
	MaxSyncBytes = 8 << 20
	// SyncAimBytes is where an endpoint stops adding to a batch; what is left goes with the next one.
	SyncAimBytes = 1 << 20
	// MaxOutputBytes bounds each output stream of a task.
	MaxOutputBytes = 1 << 20
	// MaxOutputChunk bounds one piece of output in an update.
	MaxOutputChunk = 32 << 10
	// MaxSectionBytes bounds the canonical JSON of one inventory section.
	MaxSectionBytes = 2 << 20
	// MaxEventDetailBytes bounds the detail of an event, and MaxResultBytes the result of a task.
	MaxEventDetailBytes = 8 << 10
	MaxResultBytes      = 64 << 10
)
