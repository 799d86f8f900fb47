package runner

import (
	"io/fs"
	"strconv"
	"strings"
)

// sessionUser picks whom "the logged-in user" means among logind's sessions: an active session of
// class user, one with a seat (screen and keyboard) before one from afar, the older of two alike.
func sessionUser(sessions fs.FS) (uid uint32, ok bool) {
	entries, err := fs.ReadDir(sessions, ".")
	if err != nil {
		return 0, false
	}
	best := 0
	for _, e := range entries {
		text, err := fs.ReadFile(sessions, e.Name())
		if err != nil || e.IsDir() {
			continue
		}
		s := readSession(string(text))
		n, err := strconv.ParseUint(s["UID"], 10, 32)
		if err != nil || s["CLASS"] != "user" || s["ACTIVE"] != "1" || s["STATE"] == "closing" {
			continue
		}
		score := 1
		if s["SEAT"] != "" {
			score = 2
		}
		if score > best {
			best, uid, ok = score, uint32(n), true
		}
	}
	return uid, ok
}

// readSession reads one of systemd-logind's session files, which are NAME=value lines.
func readSession(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			out[name] = value
		}
	}
	return out
}
