//go:build unix

package agent

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the data folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// protect closes the data folder to everybody else.
func protect(dir string) error { return os.Chmod(dir, 0o700) }

// lockFile takes the lock that says an endpoint runs in this folder. The system gives it back when
// the process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errRunning
		}
		return nil, fmt.Errorf("taking the lock: %w", err)
	}
	return f, nil
}
