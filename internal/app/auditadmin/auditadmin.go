// Package auditadmin is what the administration socket does with the audit trail: it
// finds records, shows the keys that digests are signed with, and checks the files of
// trails.
//
// It holds no rules of its own; those are in domain/audit and below it. App gives it its
// routes.
package auditadmin

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"github.com/berth-registry/berth/internal/app/adminwire"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/audit/trails/verify"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/trailstore"
	"github.com/berth-registry/berth/internal/infra/trailstore/dir"
)

// Service does it. Everything is needed.
type Service struct {
	Trails *trails.Service
	Lookup *lookup.Index
	// Default is the account of requests that name none.
	Default name.AccountID
}

// LookupRequest asks for a page of records.
type LookupRequest struct {
	Account name.AccountID `json:"account,omitempty"` // "": the default one
	Region  name.Region    `json:"region,omitempty"`  // "": all
	// Attribute is one of CloudTrail's: EventName, Username and so on; "": none.
	Attribute string        `json:"attribute,omitempty"`
	Value     string        `json:"value,omitempty"`
	From      time.Time     `json:"from,omitzero"`
	To        time.Time     `json:"to,omitzero"`
	Limit     int           `json:"limit,omitempty"` // 1 to 50; 0: 50
	After     lookup.Cursor `json:"after,omitempty"` // of the page before
}

// Page is a page of records, the newest first.
type Page struct {
	Events []lookup.Event `json:"events"`
	After  lookup.Cursor  `json:"after,omitempty"` // "": there is no further page
}

// Find finds records.
func (s Service) Find(ctx context.Context, in LookupRequest) (Page, error) {
	account, err := s.account(in.Account)
	if err != nil {
		return Page{}, err
	}
	all, next, err := s.Lookup.Find(ctx, lookup.Query{
		Account: account, Region: in.Region, Attribute: in.Attribute, Value: in.Value, From: in.From, To: in.To, Limit: in.Limit, Before: in.After,
	})
	out := Page{Events: []lookup.Event{}, After: next} // "[]" in JSON
	out.Events = append(out.Events, all...)
	return out, err
}

// account reads an account. errs.InvalidParameter.
func (s Service) account(a name.AccountID) (name.AccountID, error) {
	if a == "" {
		return s.Default, nil
	}
	if _, err := name.ParseAccountID(string(a)); err != nil {
		return "", errs.New(errs.InvalidParameter, "%q is no account. An account's id has 12 digits.", a)
	}
	return a, nil
}

// Key is the public half of a key that digests are signed with.
type Key struct {
	Fingerprint string    `json:"fingerprint"`
	Created     time.Time `json:"created"`
	PEM         string    `json:"pem"` // PKCS #1
}

// Keys shows all keys, the oldest first.
func (s Service) Keys(ctx context.Context, _ struct{}) ([]Key, error) {
	all, err := s.Trails.PublicKeys(ctx)
	out := []Key{} // "[]" in JSON
	for _, k := range all {
		out = append(out, Key{k.Fingerprint, k.CreatedAt, string(pem.EncodeToMemory(&pem.Block{Type: pkcs1, Bytes: x509.MarshalPKCS1PublicKey(k.Public)}))})
	}
	return out, err
}

// The types of PEM blocks that have public keys.
const (
	pkcs1 = "RSA PUBLIC KEY"
	pkix  = "PUBLIC KEY"
)

// ParseKeys reads the public keys in a PEM file, by their fingerprints. Text around them
// is passed over.
func ParseKeys(file []byte) (map[string]*rsa.PublicKey, error) {
	keys := map[string]*rsa.PublicKey{}
	for rest := bytes.Clone(file); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch block.Type {
		case pkcs1:
			k, err := x509.ParsePKCS1PublicKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			keys[trails.Fingerprint(k)] = k
		case pkix:
			k, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if public, ok := k.(*rsa.PublicKey); ok {
				keys[trails.Fingerprint(public)] = public
			}
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no public key of RSA in PEM; berth audit keys prints them")
	}
	return keys, nil
}

// VerifyRequest asks for a check.
type VerifyRequest struct {
	// Bucket is one of the setting audit.buckets. With Directory, the files of that are
	// checked in its place, and compared with what the database has of the bucket; without
	// a Bucket, they are not compared.
	Bucket    string         `json:"bucket,omitempty"`
	Directory string         `json:"directory,omitempty"` // absolute
	Account   name.AccountID `json:"account,omitempty"`   // "": all
	From      time.Time      `json:"from,omitzero"`
	To        time.Time      `json:"to,omitzero"`
}

// Verify checks the files of trails. errs.InvalidParameter, errs.TrailBucketMissing.
func (s Service) Verify(ctx context.Context, in VerifyRequest) (report verify.Report, err error) {
	o := verify.Options{Bucket: in.Bucket, Account: in.Account, From: in.From, To: in.To, Keys: map[string]*rsa.PublicKey{}}
	if o.Store, err = s.store(in); err != nil {
		return verify.Report{}, err
	}
	if d, ok := o.Store.(*dir.Store); ok && in.Directory != "" {
		defer func() { err = errors.Join(err, d.Close()) }()
	}
	if in.Bucket != "" {
		o.Known = s.Trails
	}
	all, err := s.Trails.PublicKeys(ctx)
	if err != nil {
		return verify.Report{}, err
	}
	for _, k := range all {
		o.Keys[k.Fingerprint] = k.Public
	}
	return verify.Run(ctx, o)
}

func (s Service) store(in VerifyRequest) (trailstore.Store, error) {
	if in.Directory != "" {
		if !filepath.IsAbs(in.Directory) {
			return nil, errs.New(errs.InvalidParameter, "The directory %q is not an absolute path.", in.Directory)
		}
		return dir.Open(in.Directory)
	}
	store, ok := s.Trails.Buckets[in.Bucket]
	if !ok {
		return nil, errs.New(errs.TrailBucketMissing, "The setting audit.buckets has no bucket %q.", in.Bucket)
	}
	return store, nil
}

// Routes adds the administration of the audit trail.
func (s Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /audit/lookup", adminwire.Answer(s.Find))
	mux.HandleFunc("POST /audit/keys", adminwire.Answer(s.Keys))
	mux.HandleFunc("POST /audit/verify", adminwire.Answer(s.Verify))
}
