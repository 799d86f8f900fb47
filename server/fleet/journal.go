package fleet

import (
	"fmt"
	"strings"
	"time"
)

// JournalMark is what the server remembers of a device's task journal.
type JournalMark struct {
	ID        string
	Entry     int64
	BatchID   string
	SentAt    time.Time
	BootID    string
	PastBoots string // separated by spaces, newest first
	Stale     int    // lower entries in a row that may have been late duplicates
}

// JournalReport is what a sync says about it.
type JournalReport struct {
	ID      string
	Entry   int64
	BatchID string
	SentAt  time.Time // by the endpoint's clock
	BootID  string    // of the machine's or the program's present run; may be empty
}

// maxLate is how many batches of one endpoint can be late duplicates at once: it has one outstanding,
// on at most two carriers, so a third lower entry in a row is none.
const maxLate = 2

// maxPastBoots is how many former runs are remembered.
const maxPastBoots = 4

// Judge decides whether a report can come from the one machine that the key was made on, and gives
// the new mark. A reason is returned when it cannot: the device is then quarantined.
//
// The rule:
//
//  1. The journal only grows. A lower last entry means that the disk was set back (a restored snapshot)
//     or that an older copy of it runs elsewhere.
//  2. The journal is made with the key. Another journal under the same key means a copied or rebuilt
//     data folder, whose journal no longer protects against running a task twice.
//  3. A run of the machine ends for good. When a former boot id comes back after another one was seen,
//     two machines share the key, or the machine was set back.
//
// What must not look like any of these:
//
//   - A changed address, interface, proxy or carrier: none of them is looked at.
//   - A lost reply: the endpoint repeats the batch under its id, which is recognised, or sends a newer
//     batch whose entries are the same or higher.
//   - A late duplicate: a batch that hung in the network and arrives after newer ones was sent before
//     them by the endpoint's own clock. It is served and changes no mark, but at most maxLate in a row,
//     since an endpoint has one batch outstanding.
//   - A clock that was set back: no lower entry comes with it, and until it has caught up all reports
//     look late, which only means that rule 3 waits.
func (m JournalMark) Judge(r JournalReport) (JournalMark, string) {
	if m.ID == "" {
		return m.advance(r), ""
	}
	if r.BatchID == m.BatchID {
		return m, ""
	}
	reason := m.objection(r)
	if reason == "" {
		return m.advance(r), ""
	}
	if !r.SentAt.After(m.SentAt) && m.Stale < maxLate {
		m.Stale++
		return m, ""
	}
	return m, reason
}

func (m JournalMark) objection(r JournalReport) string {
	switch {
	case r.ID != m.ID:
		return "the task journal was replaced: the data folder was copied or rebuilt"
	case r.Entry < m.Entry:
		return fmt.Sprintf("the task journal went back from entry %d to %d: the disk was set back or copied", m.Entry, r.Entry)
	case r.BootID != "" && r.BootID != m.BootID && contains(m.PastBoots, r.BootID):
		return "the same key is used from two places, or the machine was set back"
	}
	return ""
}

// advance takes a report that there is nothing to object to. One that was sent before the last may come
// from a run that has ended since: it says nothing about which run is the present one.
func (m JournalMark) advance(r JournalReport) JournalMark {
	m.Stale, m.Entry = 0, r.Entry
	if m.ID != "" && !r.SentAt.After(m.SentAt) {
		return m
	}
	if r.BootID != "" && r.BootID != m.BootID {
		past := strings.Fields(m.PastBoots)
		if m.BootID != "" {
			past = append([]string{m.BootID}, past...)
		}
		if len(past) > maxPastBoots {
			past = past[:maxPastBoots]
		}
		m.PastBoots, m.BootID = strings.Join(past, " "), r.BootID
	}
	m.ID, m.BatchID, m.SentAt = r.ID, r.BatchID, r.SentAt
	return m
}

func contains(words, word string) bool {
	for w := range strings.FieldsSeq(words) {
		if w == word {
			return true
		}
	}
	return false
}
