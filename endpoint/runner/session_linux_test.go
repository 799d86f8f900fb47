package runner

import (
	"testing"
	"testing/fstest"
)

func TestWhoIsLoggedIn(t *testing.T) {
	session := func(uid, seat, class, active string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("# This is private data. Do not parse.\nUID=" + uid + "\nUSER=u" + uid + "\nACTIVE=" + active + "\nSTATE=active\nCLASS=" + class + "\nSEAT=" + seat + "\n")}
	}
	uid, ok := sessionUser(fstest.MapFS{
		"1": session("1005", "", "user", "1"), "2": session("120", "seat0", "greeter", "1"),
		"3": session("1001", "seat0", "user", "1"), "4": session("1002", "seat0", "user", "0"), "5": {Data: []byte("rubbish")},
	})
	if !ok || uid != 1001 {
		t.Errorf("got %d %v", uid, ok)
	}
	if _, ok := sessionUser(fstest.MapFS{"2": session("120", "seat0", "greeter", "1")}); ok {
		t.Error("a login screen is taken for a user")
	}
}
