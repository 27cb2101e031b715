package upload

import (
	"context"
	"slices"
	"sync"

	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// maxKnown bounds the open rows in memory, each of up to 70 KiB. One that is not
	// there is read.
	maxKnown = 128
	// forgetTogether is how many rows of finished uploads are deleted in one
	// statement, with the next upload's start.
	forgetTogether = 16
)

// memory is what a process that is alone with its database knows of the rows, so
// that it neither reads nor leases them. What it knows is what it wrote last.
type memory struct {
	mu sync.Mutex
	// open are rows that nobody writes to at the moment.
	open map[string]row
	// begun are rows of uploads without bytes, whoever may be about to write to
	// them, which the database does not have yet.
	begun map[string]*begun
	// armed: a timer runs that saves them.
	armed bool
	// ended are uploads that are over although their rows may still say otherwise;
	// those of finished are to be deleted.
	ended    map[string]struct{}
	finished []string
}

func newMemory() *memory {
	return &memory{open: map[string]row{}, begun: map[string]*begun{}, ended: map[string]struct{}{}}
}

// keep remembers the row of an upload that goes on.
func (m *memory) keep(u row) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.open) >= maxKnown {
		for id := range m.open {
			delete(m.open, id)
			break
		}
	}
	m.open[u.id] = u
}

// take hands out the row of an upload, which is not remembered any more: whoever
// takes it may change it. ended says that the upload is over.
func (m *memory) take(id string) (u row, known, ended bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ended = m.ended[id]; ended {
		return row{}, false, true
	}
	u, known = m.open[id]
	delete(m.open, id)
	return u, known, false
}

// over says whether the upload is over although its row may say otherwise.
func (m *memory) over(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ended := m.ended[id]
	return ended
}

// end keeps everybody away from an upload, for as long as the process lives or
// until its row is gone.
func (m *memory) end(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended[id] = struct{}{}
}

// gone says that the row of an upload that was ended is deleted, or open again.
func (m *memory) gone(ids ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		delete(m.ended, id)
	}
}

// finish has the row of an upload that was ended deleted some time.
func (m *memory) finish(ids ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.finished = append(m.finished, ids...)
}

// due takes the rows that are to be deleted together, if there are so many.
func (m *memory) due() (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.finished) < forgetTogether {
		return nil
	}
	ids = slices.Clone(m.finished[:forgetTogether])
	m.finished = slices.Delete(m.finished, 0, forgetTogether)
	return ids
}

// all takes all of them.
func (m *memory) all() (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids, m.finished = m.finished, nil
	return ids
}

// deleted says what became of the deletion of rows that due or all gave.
func (m *memory) deleted(ids []string, err error) {
	if err != nil {
		m.finish(ids...)
	} else {
		m.gone(ids...)
	}
}

// waiting is how many rows of finished uploads are still to be deleted.
func (m *memory) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.finished)
}

// recall gets hold of an open upload without a lease: enter has seen to it that
// nobody else has it. It says whether the durable database has to be asked what
// the object is for, see refuseSpent: not if this process wrote the row, since
// only a power cut, which ends it, takes a row back.
func (s *Service) recall(ctx context.Context, ses *session) (ask bool, err error) {
	u, known, ended := s.memory.take(ses.id)
	if ended {
		return false, notFound(ses.repository, ses.id)
	}
	if !known {
		if u, err = s.look(ctx, ses.repository, ses.id); err != nil {
			return false, err
		}
		u.opened = 1 // somebody may have begun the object and failed
	}
	if u.repositoryID != ses.repository.ID || u.closed || u.expiresAt <= s.Clock.Now().UnixMicro() {
		if known {
			s.memory.keep(u)
		}
		return false, notFound(ses.repository, ses.id)
	}
	u.opened++
	ses.row, ses.recalled = u, true
	return u.process != s.process, nil
}

// look finds a row.
func (s *Service) look(ctx context.Context, r repository.Repository, id string) (u row, err error) {
	if u, ok := s.memory.unsaved(id); ok {
		if u.repositoryID != r.ID {
			return row{}, notFound(r, id)
		}
		return u, nil
	}
	err = s.DB.Lookup(ctx, func(tx *sqldb.Tx) error {
		u, err = find(ctx, tx, r, id)
		return err
	})
	return u, err
}

// deleteTogether removes rows in a transaction that something else calls for: none,
// or as many as due gives.
func deleteTogether(ctx context.Context, tx *sqldb.Tx, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	_, err := tx.Exec(ctx, `DELETE FROM upload WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`, args...)
	return err
}
