// Package portal holds the built web portal as an embedded file system.
package portal

import (
	"embed"
	"io/fs"
)

// NoncePlaceholder stands in index.html where the server writes the request's content-security-policy nonce.
const NoncePlaceholder = "__REEVE_CSP_NONCE__"

// The folder is tracked with a .gitkeep only, so that the server compiles before the portal is built.
//
//go:embed all:dist
var dist embed.FS

// FS is the built portal, with index.html and the hashed files under assets/.
func FS() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a constant: this cannot happen in a binary that compiled
	}
	return sub
}

// Built tells whether the portal was built before the server; if not, the server says "run make portal".
func Built() bool {
	_, err := fs.Stat(FS(), "index.html")
	return err == nil
}
