// Package verify checks the files of trails: the signatures and the chain of digests,
// the hash of every log file, and, where the database has them still, every record.
//
// It changes nothing, and trusts nothing but the public keys that it is given. With no
// database it needs no more than the files and a key.
package verify

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/trailstore"
)

// Known is what a database knows of the files; *trails.Service is one.
type Known interface {
	Files(ctx context.Context, bucket string, account name.AccountID, from, to time.Time, fn func(trails.File) error) error
	Digests(ctx context.Context, bucket string, account name.AccountID, from, to time.Time, fn func(trails.Digest) error) error
	RecordsOf(ctx context.Context, f trails.File) ([]audit.Stored, error)
	Oldest(ctx context.Context) (time.Time, error)
}

// Options say what is checked.
type Options struct {
	Store trailstore.Store
	// Bucket is the name by which the server knows the store; "" takes that from the
	// digests, for a copy in a directory.
	Bucket string
	// Account is whose files; "" is all.
	Account name.AccountID
	// From and To bound the digests by their ends, and log files by the time in their
	// names; zero times do not.
	From, To time.Time
	// Keys are the public keys that are trusted, by their fingerprints.
	Keys map[string]*rsa.PublicKey
	// Known is the database; nil for none.
	Known Known
}

// Kinds of what is found.
const (
	DigestMissing   = "digest missing"
	DigestInvalid   = "digest invalid"
	DigestUnlinked  = "digest not in the chain"
	FileMissing     = "log file missing"
	FileAltered     = "log file altered"
	FileUnlisted    = "log file not listed"
	RecordAltered   = "record altered"
	RecordRemoved   = "record removed"
	RecordAdded     = "record added"
	DatabaseAltered = "record altered in the database"
	DatabaseRemoved = "record removed from the database"
	DatabaseAdded   = "record added to the database"
	Gap             = "no digests"
	Pending         = "not in a digest yet"
)

// Finding is one thing that is not as it should be, or that is worth knowing.
type Finding struct {
	Kind   string `json:"kind"`
	Object string `json:"object,omitempty"`
	// EventID, EventName and EventTime name a record.
	EventID   string `json:"eventId,omitempty"`
	EventName string `json:"eventName,omitempty"`
	EventTime string `json:"eventTime,omitempty"`
	Text      string `json:"text"`
}

// Report is what a check has found.
type Report struct {
	Digests      int `json:"digests"`
	DigestsValid int `json:"digestsValid"`
	Files        int `json:"files"`
	FilesValid   int `json:"filesValid"`
	// Records is how many stand in the files that were read, Compared how many of them
	// were compared with the database.
	Records  int `json:"records"`
	Compared int `json:"compared"`
	// Problems are what cannot be on an untouched trail, Notes what can: times without
	// digests, files that no digest has yet.
	Problems []Finding `json:"problems"`
	Notes    []Finding `json:"notes"`
}

// Valid says whether nothing was found that an untouched trail does not have.
func (r Report) Valid() bool { return len(r.Problems) == 0 }

// maxContent bounds a file before compression, in bytes: far above what is written, so
// that a file that was put there cannot fill the memory.
const maxContent = 256 << 20

// check is one run.
type check struct {
	Options
	report  Report
	digests map[string]bool // those in the store, within the bounds, by object
	logs    map[string]logName
	listed  map[string]bool // log files that digests have
	// covered is the span of time that the valid digests of an account's region are of.
	covered map[place]covered
	known   map[string]trails.File
	oldest  time.Time
}

type place struct{ account, region string }

type covered struct{ from, to time.Time }

// Run checks everything. An error means that the check could not be done; what is wrong
// with the files stands in the report.
func Run(ctx context.Context, o Options) (Report, error) {
	c := &check{
		Options: o, digests: map[string]bool{}, logs: map[string]logName{}, listed: map[string]bool{}, covered: map[place]covered{}, known: map[string]trails.File{},
		report: Report{Problems: []Finding{}, Notes: []Finding{}}, // "[]" in JSON
	}
	chains, err := c.list(ctx)
	if err != nil {
		return Report{}, err
	}
	if err := c.ask(ctx); err != nil {
		return Report{}, err
	}
	order := make([]chain, 0, len(chains))
	for ch := range chains {
		order = append(order, ch)
	}
	slices.SortFunc(order, func(a, b chain) int {
		return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.account, b.account), cmp.Compare(a.region, b.region), cmp.Compare(a.trail, b.trail))
	})
	for _, ch := range order {
		if err := c.walk(ctx, chains[ch]); err != nil {
			return Report{}, err
		}
	}
	if err := c.rest(ctx); err != nil {
		return Report{}, err
	}
	return c.report, nil
}

func (c *check) problem(kind, object, format string, args ...any) {
	c.report.Problems = append(c.report.Problems, Finding{Kind: kind, Object: object, Text: fmt.Sprintf(format, args...)})
}

func (c *check) note(kind, object, format string, args ...any) {
	c.report.Notes = append(c.report.Notes, Finding{Kind: kind, Object: object, Text: fmt.Sprintf(format, args...)})
}

// within says whether a time is within the bounds.
func (c *check) within(t time.Time) bool {
	return (c.From.IsZero() || !t.Before(c.From)) && (c.To.IsZero() || !t.After(c.To))
}

// list reads which digests and log files there are. Digests come in the order of their
// chains and ends.
func (c *check) list(ctx context.Context) (map[chain][]digestName, error) {
	chains := map[chain][]digestName{}
	err := c.Store.List(ctx, "", func(key string) error {
		if d, ok := parseDigest(key); ok && c.ours(d.account) {
			if c.within(d.end) {
				chains[d.chain] = append(chains[d.chain], d)
				c.digests[key] = true
			}
			return nil
		}
		// A file may be named a moment before its digest begins, and is in one that ends an
		// hour and more behind it.
		if l, ok := parseLog(key); ok && c.ours(l.account) && c.within(l.at) {
			c.logs[key] = l
		}
		return nil
	})
	return chains, err
}

func (c *check) ours(account string) bool { return c.Account == "" || string(c.Account) == account }

// ask reads what the database knows.
func (c *check) ask(ctx context.Context) (err error) {
	if c.Known == nil {
		return nil
	}
	if c.Bucket == "" {
		return errors.New("to compare with the database, the bucket has to be named by which the server knows it")
	}
	if c.oldest, err = c.Known.Oldest(ctx); err != nil {
		return err
	}
	return c.Known.Files(ctx, c.Bucket, c.Account, time.Time{}, time.Time{}, func(f trails.File) error {
		c.known[f.Object] = f
		return nil
	})
}

// loaded is a digest that was read.
type loaded struct {
	trails.Content
	name            digestName
	hash, signature string
}

// walk checks one chain of digests, the newest first.
func (c *check) walk(ctx context.Context, names []digestName) error {
	slices.SortFunc(names, func(a, b digestName) int { return b.end.Compare(a.end) })
	var newer *loaded // the digest before in this walk, whose previous one comes now
	for _, n := range names {
		c.report.Digests++
		d, err := c.load(ctx, n)
		if err != nil {
			return err
		}
		if newer != nil {
			c.link(*newer, n, d)
		}
		newer = d
		if d == nil {
			continue
		}
		c.report.DigestsValid++
		if err := c.files(ctx, *d); err != nil {
			return err
		}
		c.cover(*d)
	}
	// The oldest one has to be the first of all, or what comes before it has to be out of
	// the bounds.
	if newer != nil && newer.PreviousObject != nil {
		if p, ok := parseDigest(*newer.PreviousObject); !ok || c.within(p.end) {
			c.problem(DigestMissing, *newer.PreviousObject, "the digest %s names it as the one before", newer.name.key)
		}
	}
	return nil
}

// link checks that a digest is followed by the one that comes next in the walk: older is
// nil if that is not valid.
func (c *check) link(newer loaded, name digestName, older *loaded) {
	switch {
	case newer.PreviousObject == nil:
		c.problem(DigestUnlinked, name.key, "the digest behind it, %s, says that there is none before", newer.name.key)
		return
	case *newer.PreviousObject != name.key:
		if !c.digests[*newer.PreviousObject] {
			c.problem(DigestMissing, *newer.PreviousObject, "the digest %s names it as the one before", newer.name.key)
		}
		c.problem(DigestUnlinked, name.key, "the digest behind it, %s, names another one before", newer.name.key)
		return
	case older == nil:
		return // it is reported already
	}
	if newer.PreviousHash == nil || *newer.PreviousHash != older.hash || newer.PreviousSignature == nil || *newer.PreviousSignature != older.signature {
		c.problem(DigestInvalid, name.key, "it is not the one that the digest behind it, %s, was signed with", newer.name.key)
	}
	if older.End < newer.Start {
		c.note(Gap, newer.name.key, "there are no digests from %s to %s: the trail did not log, or had no validation", older.End, newer.Start)
	}
}

// load reads a digest and checks its signature; nil if it is not valid.
func (c *check) load(ctx context.Context, n digestName) (*loaded, error) {
	o, content, err := c.get(ctx, n.key)
	if errors.Is(err, errContent) {
		c.problem(DigestInvalid, n.key, "%v", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := &loaded{name: n, hash: hashOf(content), signature: o.Metadata[trails.MetaSignature]}
	invalid := func(format string, args ...any) (*loaded, error) {
		c.problem(DigestInvalid, n.key, format, args...)
		return nil, nil
	}
	if err := json.Unmarshal(content, &d.Content); err != nil {
		return invalid("it is no digest: %v", err)
	}
	key, ok := c.Keys[d.KeyID]
	signature, err := hex.DecodeString(d.signature)
	switch {
	case d.signature == "" || err != nil:
		return invalid("its signature is missing; it stands in the object's metadata, and in %s%s", n.key, trailstore.SidecarSuffix)
	case !ok:
		return invalid("it is signed with the key %s, which is none of those given", d.KeyID)
	case o.Metadata[trails.MetaAlgorithm] != trails.SignatureAlgorithm || d.SignatureAlgorithm != trails.SignatureAlgorithm:
		return invalid("it is signed by another algorithm than %s", trails.SignatureAlgorithm)
	}
	sum := sha256.Sum256([]byte(d.Signed(d.hash)))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
		return invalid("the signature is not that of the content: one of the two was altered")
	}
	if d.Object != n.key || c.Bucket != "" && d.Bucket != c.Bucket {
		return invalid("it was signed for another place: s3://%s/%s", d.Bucket, d.Object)
	}
	return d, nil
}

var errContent = errors.New("it cannot be read")

// get reads an object and unpacks it. errContent if that fails, trailstore.ErrNotFound.
func (c *check) get(ctx context.Context, key string) (trailstore.Object, []byte, error) {
	o, err := c.Store.Get(ctx, key)
	if errors.Is(err, trailstore.ErrKey) {
		return o, nil, fmt.Errorf("%w: %w", errContent, err)
	}
	if err != nil {
		return o, nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(o.Body))
	if err != nil {
		return o, nil, fmt.Errorf("%w: %w", errContent, err)
	}
	content, err := io.ReadAll(io.LimitReader(z, maxContent+1))
	if err == nil && len(content) > maxContent {
		err = fmt.Errorf("it has more than %d bytes", maxContent)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return o, nil, fmt.Errorf("%w: %w", errContent, err)
	}
	return o, content, nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// cover keeps which time the digests are of.
func (c *check) cover(d loaded) {
	from, err1 := time.Parse(trails.TimeLayout, d.Start)
	to, err2 := time.Parse(trails.TimeLayout, d.End)
	if err1 != nil || err2 != nil {
		return // signed as it is; ours never are so
	}
	at := place{d.name.account, d.name.region}
	old, ok := c.covered[at]
	if !ok {
		old = covered{from, to}
	}
	if from.Before(old.from) {
		old.from = from
	}
	if to.After(old.to) {
		old.to = to
	}
	c.covered[at] = old
}

// files checks the log files of a digest.
func (c *check) files(ctx context.Context, d loaded) error {
	for _, f := range d.Files {
		c.report.Files++
		c.listed[f.Object] = true
		if c.Bucket != "" && f.Bucket != c.Bucket {
			c.note(FileMissing, f.Object, "it stands in another bucket, %s, which was not read", f.Bucket)
			continue
		}
		_, content, err := c.get(ctx, f.Object)
		switch {
		case errors.Is(err, trailstore.ErrNotFound):
			c.problem(FileMissing, f.Object, "the digest %s lists it", d.name.key)
			continue
		case errors.Is(err, errContent):
			c.problem(FileAltered, f.Object, "%v", err)
			continue
		case err != nil:
			return err
		}
		sound := hashOf(content) == f.Hash && f.HashAlgorithm == trails.HashAlgorithm
		if sound {
			c.report.FilesValid++
		} else {
			c.problem(FileAltered, f.Object, "its content is not the one whose hash the digest %s has", d.name.key)
		}
		if err := c.records(ctx, f.Object, content, sound); err != nil {
			return err
		}
	}
	return nil
}

// rest looks at what is in the store and in no digest, and at what the database knows
// and the store has not.
func (c *check) rest(ctx context.Context) error {
	keys := make([]string, 0, len(c.logs))
	for key := range c.logs {
		if !c.listed[key] {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := c.unlisted(ctx, key); err != nil {
			return err
		}
	}
	if c.Known == nil {
		return nil
	}
	objects := make([]string, 0, len(c.known))
	for object := range c.known {
		objects = append(objects, object)
	}
	slices.Sort(objects)
	for _, object := range objects {
		if _, there := c.logs[object]; there || c.listed[object] {
			continue
		}
		if l, ok := parseLog(object); ok && c.within(l.at) {
			c.problem(FileMissing, object, "the server wrote it at %s", c.known[object].DeliveredAt.Format(trails.TimeLayout))
		}
	}
	return c.Known.Digests(ctx, c.Bucket, c.Account, c.From, c.To, func(d trails.Digest) error {
		if !c.digests[d.Object] && !c.reported(DigestMissing, d.Object) {
			c.problem(DigestMissing, d.Object, "the server wrote it for the hour that ended at %s", d.End.Format(trails.TimeLayout))
		}
		return nil
	})
}

func (c *check) reported(kind, object string) bool {
	return slices.ContainsFunc(c.report.Problems, func(f Finding) bool { return f.Kind == kind && f.Object == object })
}

// unlisted looks at a log file that no digest lists.
func (c *check) unlisted(ctx context.Context, key string) error {
	l := c.logs[key]
	span, digests := c.covered[place{l.account, l.region}]
	known, written := c.known[key]
	switch {
	case c.Known != nil && !written && (!digests || l.at.Before(span.from)):
		c.note(FileUnlisted, key, "no digest lists it, and the server does not know it: it is from a trail without validation, or was put there")
		return nil
	case c.Known != nil && !written:
		c.problem(FileUnlisted, key, "no digest lists it, and the server does not know it: it was put there, or a try to write it was cut off")
		return nil
	case c.Known == nil && (!digests || l.at.Before(span.from)):
		c.note(FileUnlisted, key, "there are no digests of its time: it cannot be checked")
		return nil
	case c.Known == nil && l.at.After(span.to.Add(-trails.DigestPeriod)):
		c.note(Pending, key, "the digest of its time is not there yet: it cannot be checked")
		return nil
	case c.Known == nil:
		c.problem(FileUnlisted, key, "there are digests of its time and none lists it: it was put there, or is from a trail without validation")
		return nil
	}
	// The server wrote it: its hash stands in the database.
	c.report.Files++
	_, content, err := c.get(ctx, key)
	switch {
	case errors.Is(err, errContent):
		c.problem(FileAltered, key, "%v", err)
		return nil
	case err != nil:
		return err
	}
	sound := hashOf(content) == known.Hash
	if sound {
		c.report.FilesValid++
		if known.Digested {
			c.note(Pending, key, "the digest of its time is not there yet: it was checked against the database")
		}
	} else {
		c.problem(FileAltered, key, "its content is not the one whose hash the server has")
	}
	return c.records(ctx, key, content, sound)
}
