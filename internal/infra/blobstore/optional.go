package blobstore

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// BatchDeleter is a Store that deletes many objects at once. Use DeleteAll, which
// asks a Store whether it is one.
type BatchDeleter interface {
	// DeleteAll deletes like Delete, finished objects and unfinished ones. failed
	// holds those keys that could not be deleted, with the reasons; err is set
	// when it stopped early, and then all keys have to be tried again that are to
	// be gone.
	DeleteAll(ctx context.Context, keys []string) (failed map[string]error, err error)
}

// Redirector is a Store whose objects clients can fetch by themselves, from a URL
// that needs no further credentials. Use Redirect, which asks a Store whether it
// is one.
type Redirector interface {
	// Redirect returns such a URL, which answers a GET, with or without a range,
	// for life (from a second to a week), and says that the content is of the
	// given type. ok is false when the object cannot be fetched so: its stored
	// bytes are sealed, or no place is known where clients reach it. Whether the
	// object exists is not looked at.
	Redirect(ctx context.Context, o Object, life time.Duration, contentType string) (url string, ok bool, err error)
}

// Lender is a Writer that lends the memory in which it gathers what is written. Use
// Lend, which asks a Writer whether it is one.
type Lender interface {
	// Lend returns room for n bytes, nil if there is none to be had. It is the
	// caller's until its next call of the Writer; a Write of bytes that stand at its
	// beginning copies nothing.
	Lend(n int) []byte
}

// Lend asks the Writer for room for n bytes, nil if it lends none.
func Lend(w Writer, n int) []byte {
	if l, ok := w.(Lender); ok {
		return l.Lend(n)
	}
	return nil
}

// deletions is how many Deletes run at once for a Store that is no BatchDeleter.
const deletions = 8

// DeleteAll deletes many objects, together if the Store can and else a few side by
// side. The results are those of BatchDeleter.
func DeleteAll(ctx context.Context, s Store, keys []string) (failed map[string]error, err error) {
	if batch, ok := s.(BatchDeleter); ok {
		return batch.DeleteAll(ctx, keys)
	}
	errs := make([]error, len(keys))
	var group errgroup.Group
	group.SetLimit(deletions)
	for i, key := range keys {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			errs[i] = s.Delete(ctx, key)
			return nil
		})
	}
	_ = group.Wait() // none returns an error
	failed = map[string]error{}
	for i, err := range errs {
		if err != nil {
			failed[keys[i]] = err
		}
	}
	return failed, ctx.Err()
}

// Redirect asks the Store for a URL of the object's bytes; ok is false for one
// that is no Redirector.
func Redirect(ctx context.Context, s Store, o Object, life time.Duration, contentType string) (url string, ok bool, err error) {
	if r, is := s.(Redirector); is {
		return r.Redirect(ctx, o, life, contentType)
	}
	return "", false, nil
}

// Beginner is a reader of a Store's Open that can be asked before its first byte is
// read. Use Begin, which asks a reader whether it is one.
type Beginner interface {
	// Begin says whether there are bytes to read, as far as that shows before any is
	// handed out: the error is the one that the first Read or WriteTo would end with.
	// A reader that gives bytes as they are stored looks at no more than that they are
	// there. errors.ErrUnsupported: it cannot be told, and nothing was done.
	Begin() error
}

// Begin asks a reader, if it can be asked; else it is errors.ErrUnsupported.
func Begin(r io.Reader) error {
	if b, ok := r.(Beginner); ok {
		return b.Begin()
	}
	return errors.ErrUnsupported
}

// Forgetter is a Store that keeps copies of what it reads. Use Forget, which asks a
// Store whether it is one.
type Forgetter interface {
	// Forget drops the copies of an object. A store that finds the bytes damaged
	// which the one below gave it calls it, so that a fault of the way does not
	// stay.
	Forget(key string)
}

// Forget tells the Store to drop copies of an object, if it keeps any.
func Forget(s Store, key string) {
	if f, ok := s.(Forgetter); ok {
		f.Forget(key)
	}
}
