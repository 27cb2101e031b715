package audit

import "context"

// Text is a record of an entry without its event id, which belongs at split.
func Text(e Entry, o Options) (text string, split int, err error) {
	var w writer
	split = w.write(&e, o)
	return string(w.b), split, w.err
}

// NewPacker returns what sorts batches into segments and single records.
func NewPacker(o Options) func(batch []Entry) error {
	p := packer{options: o}
	return func(batch []Entry) error {
		_, _, err := p.pack(batch)
		return err
	}
}

// BatchSize is how many entries make a full batch.
const BatchSize = batchSize

// FlushFull writes what Run writes as soon as a batch is full.
func (t *Trail) FlushFull(ctx context.Context) error { return t.flush(ctx, batchSize) }
