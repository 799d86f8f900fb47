// Package auth proves who is calling: passwords, second factors, sessions, API keys and the
// credentials of endpoints, and turns each into a scope.
package auth
