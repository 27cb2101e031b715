package app

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/domain/image/check"
	layercheck "github.com/berth-registry/berth/internal/domain/layer/check"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
)

// FsckLine is one line of a check's report: progress, a problem, a note, or the
// end (Sum or Error).
type FsckLine struct {
	What    string   `json:"what,omitempty"` // layers or images
	Done    int64    `json:"done,omitempty"`
	Total   int64    `json:"total,omitempty"`
	Problem string   `json:"problem,omitempty"`
	Note    string   `json:"note,omitempty"`
	Error   string   `json:"error,omitempty"`
	Sum     *FsckSum `json:"sum,omitempty"`
}

// FsckSum is what a finished check has looked at.
type FsckSum struct {
	Layers int64 `json:"layers"`
	Bytes  int64 `json:"bytes"`
	Images int64 `json:"images"` // deleted ones that can be restored among them
}

// progressEvery bounds how often a check reports progress.
const progressEvery = time.Second

// Fsck reads everything that is stored and compares it with the rows. It
// reports through line, and always ends with a Sum or an Error.
func (a *App) Fsck(ctx context.Context, line func(FsckLine)) {
	var sum FsckSum
	last := time.Now()
	progress := func(what string, done, total int64) {
		if time.Since(last) >= progressEvery {
			last = time.Now()
			line(FsckLine{What: what, Done: done, Total: total})
		}
	}
	err := a.layers.Checker().Verify(ctx, layercheck.Options{
		Regions: backends.Regions(a.cfg), Others: []string{vulndb.Prefix},
		Progress: func(done, total, doneBytes, _ int64) {
			sum.Layers, sum.Bytes = done, doneBytes
			progress("layers", done, total)
		},
		Report: func(p layercheck.Problem) {
			switch p.Kind {
			case layercheck.UploadUnfinished, layercheck.ObjectGarbage:
				line(FsckLine{Note: problemText(p)})
			case layercheck.ObjectMissing, layercheck.ObjectDamaged, layercheck.DigestWrong, layercheck.RegionUnserved, layercheck.ObjectUnreferenced:
				line(FsckLine{Problem: problemText(p)})
			}
		},
	})
	if err == nil {
		sum.Images, err = check.Service{Durable: a.durable, Repositories: a.repositories}.Verify(ctx,
			func(done, total int64) { progress("images", done, total) },
			func(text string) { line(FsckLine{Problem: text}) })
	}
	if err == nil {
		var kept int64
		kept, err = a.recovery.Verify(ctx, func(text string) { line(FsckLine{Problem: text}) })
		sum.Images += kept
	}
	if err == nil {
		err = a.scanning.Databases.Verify(ctx, func(text string) { line(FsckLine{Problem: text}) })
	}
	if err != nil {
		line(FsckLine{Error: err.Error()})
		return
	}
	line(FsckLine{Sum: &sum})
}

// problemText is a finding in one line.
func problemText(p layercheck.Problem) string {
	text := fmt.Sprintf("%s: object %s in region %s, %d bytes", p.Kind, p.ObjectKey, p.Region, p.Size)
	if p.Digest != "" {
		text += fmt.Sprintf(", of layer %s in account %s", p.Digest, p.Account)
	}
	if p.Cause != nil {
		text += ": " + p.Cause.Error()
	}
	return text
}
