package app

import (
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"off", "auto"} {
		i := start(t, mode)
		o := i.o.Defaults()
		o.Listen = i.app.addr
		if err := Health(t.Context(), o); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
		i.stop(t)
		if err := Health(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not healthy") {
			t.Errorf("%s, stopped: %v", mode, err)
		}
	}
}

func TestTheHealthOfAServerThatListensEverywhere(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{":8480": "127.0.0.1:8480", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1",
		"10.1.2.3:1": "10.1.2.3:1", "localhost:1": "localhost:1"} {
		if got := localAddress(listen); got != want {
			t.Errorf("%s: %s instead of %s", listen, got, want)
		}
	}
}
