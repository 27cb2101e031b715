package vulndb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
)

const (
	// temporaryPrefix begins the names of what is on its way in Config.Dir.
	temporaryPrefix = "tmp-"
	// keepUnneeded is how long a directory stays after it was replaced.
	keepUnneeded = time.Hour
	// unpackPause is how long a node rests after it could not unpack a database.
	unpackPause = time.Minute
	// sweepEvery is how often Run looks for directories to remove.
	sweepEvery = time.Minute
)

// unpacked says whether a database is on this node.
func (s *Service) unpacked(d name.Digest) bool {
	for _, file := range []string{fileDatabase, fileMetadata} {
		if info, err := os.Lstat(filepath.Join(s.dir(d), file)); err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return false
		}
	}
	return true
}

// Current returns the database in use, which is unpacked on this node, and false where
// there is none. It unpacks it if need be, which takes some seconds. Where that cannot
// be done, the former one is returned for as long as it is here. A directory stays at
// least for an hour after another one has replaced it.
func (s *Service) Current(ctx context.Context) (Database, bool, error) {
	current, former, err := s.look(ctx)
	if err != nil || current == nil {
		return Database{}, false, err
	}
	if !s.unpacked(current.db.Digest) {
		err = s.bring(ctx, *current)
	}
	if errors.Is(err, blobstore.ErrNotFound) {
		// Replaced twice meanwhile, perhaps.
		if current, former, err = s.look(ctx); err != nil || current == nil {
			return Database{}, false, err
		}
		err = s.bring(ctx, *current)
	}
	if err == nil {
		return s.serve(current.db), true, nil
	}
	if ctx.Err() != nil {
		return Database{}, false, ctx.Err()
	}
	s.mu.Lock()
	served := s.served
	s.mu.Unlock()
	switch {
	case former != nil && s.unpacked(former.db.Digest):
		return former.db, true, nil
	case served != nil && s.unpacked(served.Digest):
		return *served, true, nil
	}
	return Database{}, false, err
}

// serve remembers what this node has.
func (s *Service) serve(db Database) Database {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served, s.failed = &db, nil
	return db
}

// bring unpacks a database on this node.
func (s *Service) bring(ctx context.Context, r row) error {
	leave, err := enter(ctx, s.unpacking)
	if err != nil {
		return err
	}
	defer leave()
	if s.unpacked(r.db.Digest) {
		return nil // another one was faster
	}
	s.mu.Lock()
	failed := s.failed
	s.mu.Unlock()
	now := s.c.Clock.Now()
	if failed != nil && failed.digest == r.db.Digest && now.Before(failed.again) {
		return failed.err
	}
	if err = s.fromStore(ctx, r); err == nil || ctx.Err() != nil {
		return err
	}
	err = fmt.Errorf("the vulnerability database %s cannot be unpacked in %s: %w", r.db.Digest, s.c.Dir, err)
	s.c.Log.ErrorContext(ctx, "a vulnerability database cannot be unpacked on this node; the former one serves on where it is here", "error", err)
	s.mu.Lock()
	s.failed = &failure{digest: r.db.Digest, err: err, again: now.Add(unpackPause)}
	s.mu.Unlock()
	return err
}

// fromStore unpacks the stored archive.
func (s *Service) fromStore(ctx context.Context, r row) error {
	dir := s.temporary()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // Run removes what stays
	in, err := s.c.Store().Open(ctx, r.object, 0, -1)
	if err != nil {
		return err
	}
	digest, _, err := s.unpack(ctx, in, dir)
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	if digest != r.db.Digest {
		return fmt.Errorf("the stored archive has the digest %s: import the database again", digest)
	}
	return s.install(dir, digest)
}

// install gives a directory, which is whole and synced, its name. The caller holds
// unpacking.
func (s *Service) install(dir string, d name.Digest) error {
	if s.unpacked(d) {
		return nil
	}
	to := s.dir(d)
	if _, err := os.Lstat(to); err == nil { // somebody has taken something out of it
		if err := s.remove(to); err != nil {
			return err
		}
	}
	if err := os.Rename(dir, to); err != nil {
		return err
	}
	return syncDir(s.c.Dir)
}

// remove takes a directory away: its name first, so that half of it is never taken
// for a database.
func (s *Service) remove(dir string) error {
	away := s.temporary()
	if err := os.Rename(dir, away); err != nil {
		return err
	}
	return os.RemoveAll(away)
}

// Run has this node keep up with the current database until ctx ends: it unpacks a
// new one within seconds, and removes those that are no longer needed. Errors are
// logged and tried again.
func (s *Service) Run(ctx context.Context) error {
	if err := s.removeLeftovers(); err != nil {
		s.c.Log.WarnContext(ctx, "leftovers of an earlier process stay in the directory of the vulnerability databases", "error", err)
	}
	if err := s.first(ctx); err != nil && ctx.Err() == nil {
		s.c.Log.WarnContext(ctx, "the first vulnerability database is fetched later", "error", err)
	}
	poll := time.NewTicker(s.c.Poll)
	defer poll.Stop()
	var swept time.Time
	for {
		if _, _, err := s.Current(ctx); err != nil && ctx.Err() == nil {
			s.c.Log.DebugContext(ctx, "no vulnerability database on this node", "error", err)
		}
		if time.Since(swept) >= min(sweepEvery, 10*s.c.Poll) { // the machine's time: how often to look
			swept = time.Now()
			if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
				s.c.Log.WarnContext(ctx, "a vulnerability database that is no longer used cannot be removed from this node", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		}
	}
}

// removeLeftovers removes what a process that was killed had on its way.
func (s *Service) removeLeftovers() error {
	entries, err := os.ReadDir(s.c.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporaryPrefix) && !strings.HasPrefix(e.Name(), temporaryPrefix+s.run+"-") {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.c.Dir, e.Name())))
		}
	}
	return err
}

// Sweep removes directories of databases that have been neither current nor former
// for an hour. Run calls it.
func (s *Service) Sweep(ctx context.Context) error {
	// What is current must not change between the question and the removal.
	leave, err := enter(ctx, s.unpacking)
	if err != nil {
		return err
	}
	defer leave()
	current, former, err := s.look(ctx)
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, r := range []*row{current, former} {
		if r != nil {
			needed[r.db.Digest.Hex()] = true
		}
	}
	entries, err := os.ReadDir(s.c.Dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served != nil && current != nil && !s.unpacked(current.db.Digest) {
		needed[s.served.Digest.Hex()] = true // it serves on
	}
	now, seen := s.c.Clock.Now(), map[string]time.Time{}
	for _, e := range entries {
		if sum, err := hex.DecodeString(e.Name()); err != nil || len(sum) != 32 || needed[e.Name()] {
			continue
		}
		since, ok := s.unneeded[e.Name()]
		if !ok {
			since = now
		}
		if now.Sub(since) < keepUnneeded {
			seen[e.Name()] = since
			continue
		}
		if e := s.remove(filepath.Join(s.c.Dir, e.Name())); e != nil {
			err = errors.Join(err, e)
		}
	}
	s.unneeded = seen
	return err
}

// Verify reads the stored archives and compares their digests, and tells of objects
// that no row names. It is for checks of everything that is stored.
func (s *Service) Verify(ctx context.Context, problem func(text string)) error {
	listed := map[string]bool{}
	for info, err := range s.c.Store().List(ctx, Prefix) {
		if err != nil {
			return err
		}
		listed[info.Key] = true // listed before the rows are asked for: a row comes before its object
	}
	rows, err := s.rows(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		delete(listed, r.object.Key)
		if r.state != stateCurrent && r.state != stateFormer {
			continue
		}
		from, err := s.readAll(ctx, r.object)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			problem(fmt.Sprintf("the vulnerability database %s (object %s) cannot be read: %v; import it again", r.db.Digest, r.object.Key, err))
		case name.FromHash("sha256", from.sum) != r.db.Digest:
			problem(fmt.Sprintf("the vulnerability database %s (object %s) is damaged; import it again", r.db.Digest, r.object.Key))
		}
	}
	for key := range listed {
		problem(fmt.Sprintf("object %s belongs to no vulnerability database", key))
	}
	return nil
}

func (s *Service) readAll(ctx context.Context, o blobstore.Object) (*source, error) {
	in, err := s.c.Store().Open(ctx, o, 0, -1)
	if err != nil {
		return nil, err
	}
	from := newSource(ctx, in, s.c.MaxArchive)
	_, err = io.Copy(io.Discard, from)
	return from, errors.Join(err, in.Close())
}
