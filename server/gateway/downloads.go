package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
	"time"

	"reeve/api/fault"
)

// downloadName is what an endpoint program is called; nothing else is handed out.
var downloadName = regexp.MustCompile(`^reeve-endpoint-(linux|windows|darwin)-(amd64|arm64)(\.exe)?$`)

var errNoDownload = fault.New(fault.NotFound, "there is no such file")

// Downloads hands out the endpoint programs in one folder.
type Downloads struct {
	root *os.Root
	mu   sync.Mutex
	sums map[string]digest
}

type digest struct {
	size     int64
	modified time.Time
	sum      string
}

// OpenDownloads opens the folder; Close closes it.
func OpenDownloads(dir string) (*Downloads, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the endpoint programs: %w", err)
	}
	return &Downloads{root: root, sums: map[string]digest{}}, nil
}

// Close closes the folder.
func (d *Downloads) Close() error { return d.root.Close() }

func (d *Downloads) open(name string) (*os.File, int64, error) {
	if !downloadName.MatchString(name) {
		return nil, 0, errNoDownload
	}
	file, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = file.Close() // was only read
		return nil, 0, errNoDownload
	}
	return file, info.Size(), nil
}

// Digest is the SHA-256 of a program in hex, or "" when it is not there. It is computed once for each
// version of the file.
func (d *Downloads) Digest(name string) string {
	file, size, err := d.open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.sums[name]; ok && known.size == size && known.modified.Equal(info.ModTime()) {
		return known.sum
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return ""
	}
	sum := hex.EncodeToString(h.Sum(nil))
	d.sums[name] = digest{size: size, modified: info.ModTime(), sum: sum}
	return sum
}
