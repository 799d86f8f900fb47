package tenantdb

import (
	"bytes"
	"runtime"
	"sync"
)

// openTransactions remembers which goroutines are inside a transaction. A context could not tell: fn
// gets a tx and no context, so a nested call arrives with the same one as its parent.
type openTransactions struct{ goroutines sync.Map }

// enter notes the calling goroutine until the returned function is called, and panics on nesting.
func (o *openTransactions) enter() (leave func()) {
	id := goroutineID()
	if _, nested := o.goroutines.LoadOrStore(id, struct{}{}); nested {
		panic("tenantdb: a transaction inside a transaction; pass tx on instead")
	}
	return func() { o.goroutines.Delete(id) }
}

// goroutineID reads the number from the first line of a stack trace, "goroutine 17 [running]:".
func goroutineID() string {
	var buf [64]byte
	line := buf[:runtime.Stack(buf[:], false)]
	line = bytes.TrimPrefix(line, []byte("goroutine "))
	if end := bytes.IndexByte(line, ' '); end > 0 {
		line = line[:end]
	}
	return string(line)
}
