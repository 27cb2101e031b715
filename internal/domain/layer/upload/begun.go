package upload

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// saveAfter is Config.SaveAfter if that is not set. Most uploads have bytes, or are
	// over, long before.
	saveAfter = 100 * time.Millisecond
	// maxBegun bounds those rows.
	maxBegun = 256
	// saveLimit bounds their writing, and is the time until it is tried again.
	saveLimit = 10 * time.Second
)

// begun is the row of an upload without bytes that is not in the database yet, or
// will be in a moment. It is seen here until it is seen there.
type begun struct {
	row
	at time.Time
	// saving: a transaction of save has begun to insert it. claimed: somebody else
	// inserts it, or what has become of it.
	saving, claimed bool
}

// begin remembers the row of a new upload, if there is room for it. arm says that
// nobody is to save it yet.
func (m *memory) begin(u row) (ok, arm bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.begun) >= maxBegun {
		return false, false
	}
	m.begun[u.id] = &begun{row: u, at: time.Now()}
	arm, m.armed = !m.armed, true
	return true, arm
}

// unsaved is the row of an upload that the database may not know yet.
func (m *memory) unsaved(id string) (u row, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b, ok := m.begun[id]; ok {
		return b.row, true
	}
	return row{}, false
}

// unwritten is how many there are.
func (m *memory) unwritten() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.begun)
}

// claim says that the database has no row of the upload and will get none but from
// the caller, who says what became of it by written. If not, a transaction that
// changes the row and begins now finds it.
func (m *memory) claim(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.begun[id]
	if !ok || b.saving {
		return false
	}
	b.claimed = true
	return true
}

// written says that the database knows of the upload all that there is to know, or,
// with an error, as little as before.
func (m *memory) written(id string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.begun, id)
	} else if b, ok := m.begun[id]; ok {
		b.claimed = false
	}
}

// older says whether there are rows that were begun before a time.
func (m *memory) older(before time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.begun {
		if b.at.Before(before) {
			return true
		}
	}
	return false
}

// toSave gives the rows that were begun before a time, to a transaction that inserts
// them.
func (m *memory) toSave(before time.Time) (rows []row) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.begun {
		if !b.claimed && b.at.Before(before) {
			b.saving = true
			rows = append(rows, b.row)
		}
	}
	return rows
}

// saved says what became of the transaction that toSave was for.
func (m *memory) saved(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, b := range m.begun {
		if b.saving && err == nil {
			delete(m.begun, id)
		}
		b.saving = false
	}
}

// goOn says whether there is something to save later.
func (m *memory) goOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.armed = len(m.begun) > 0
	return m.armed
}

// begin opens an upload in memory. false: there are too many of them.
func (s *Service) begin(u row) bool {
	ok, arm := s.memory.begin(u)
	if arm {
		s.saveLater(s.SaveAfter)
	}
	return ok
}

// settle writes the row of an upload that the database does not know yet, before
// more than its first bytes come: a row is there before its object is.
func (s *Service) settle(ctx context.Context, ses *session, bytes int64) error {
	if s.InlineBytes > 0 && bytes <= s.InlineBytes || !s.memory.claim(ses.id) {
		return nil
	}
	finished := s.memory.due()
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := insert(ctx, tx, ses.row); err != nil {
			return err
		}
		return deleteTogether(ctx, tx, finished)
	})
	s.memory.deleted(finished, err)
	s.memory.written(ses.id, err)
	return err
}

// saveLater has rows saved that have been in memory for SaveAfter by then, and goes
// on while there are more.
func (s *Service) saveLater(in time.Duration) {
	time.AfterFunc(in, func() {
		ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
		defer cancel()
		next := s.SaveAfter
		if err := s.save(ctx, time.Now().Add(-s.SaveAfter)); err != nil {
			s.Log.WarnContext(ctx, "uploads that were begun are not in the database yet", "error", err)
			next = saveLimit
		}
		if s.memory.goOn() {
			s.saveLater(next)
		}
	})
}

// Save writes what is known of uploads in memory alone, for a process that ends.
func (s *Service) Save(ctx context.Context) error { return s.save(ctx, time.Now().Add(time.Hour)) }

// save inserts the rows of uploads that were begun before a time.
func (s *Service) save(ctx context.Context, before time.Time) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if !s.memory.older(before) {
		return nil
	}
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		for _, u := range s.memory.toSave(before) {
			if err := insert(ctx, tx, u); err != nil {
				return err
			}
		}
		return nil
	})
	s.memory.saved(err)
	return err
}

// insert adds a row that is not leased.
func insert(ctx context.Context, tx *sqldb.Tx, u row) error {
	_, err := tx.Exec(ctx, `INSERT INTO upload (`+columns+`, wanted)
		VALUES ($1, $2, $3, $4, FALSE, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '', 0, $15, $16, FALSE)`,
		u.id, u.repositoryID, string(u.region), u.objectKey, u.opened, u.received, u.parts, u.lastPart, u.partCut, u.smallPart,
		notNil(u.state), notNil(u.hashes), u.process, u.mixed, u.startedAt, u.expiresAt)
	return err
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
