package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/config"
)

type fsckCommand struct {
	config.Settings
	Quiet bool `short:"q" help:"Show no progress, only problems and the sum."`
}

// Run checks everything stored: through the running server where there is one,
// else by opening the data directory.
func (c fsckCommand) Run(ctx context.Context) error {
	cfg, err := c.Load()
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return fmt.Errorf("there is no data directory to check: %w", err)
	}
	show := &fsckPrinter{quiet: c.Quiet}
	err = fsckOnline(ctx, cfg.Data, show.line)
	if errors.Is(err, app.ErrNoServer) {
		err = fsckOffline(ctx, cfg, show.line)
	}
	if err != nil {
		return err
	}
	return show.verdict()
}

func fsckOnline(ctx context.Context, data string, line func(app.FsckLine)) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://berth/fsck", nil)
	if err != nil {
		return err
	}
	answer, err := app.AdminClient(data).Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	in := json.NewDecoder(answer.Body)
	for {
		var l app.FsckLine
		if err := in.Decode(&l); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the server ended the check early: %w", err)
		}
		line(l)
	}
}

func fsckOffline(ctx context.Context, cfg config.Config, line func(app.FsckLine)) error {
	a, err := app.New(ctx, cfg, app.Options{Log: newLogger(os.Stderr, cfg.Log), Version: version()})
	if err != nil {
		return err
	}
	a.Fsck(ctx, line)
	return a.Close()
}

// fsckRestored checks a deployment that was just restored.
func fsckRestored(ctx context.Context, cfg config.Config) error {
	show := &fsckPrinter{}
	if err := fsckOffline(ctx, cfg, show.line); err != nil {
		return err
	}
	return show.verdict()
}

// fsckPrinter shows progress on standard error and problems on standard output.
type fsckPrinter struct {
	quiet    bool
	problems int
	done     *app.FsckSum
	failure  string
}

func (p *fsckPrinter) line(l app.FsckLine) {
	switch {
	case l.Problem != "":
		p.problems++
		fmt.Println("problem:", l.Problem)
	case l.Note != "":
		if !p.quiet {
			fmt.Println("note:", l.Note)
		}
	case l.Error != "":
		p.failure = l.Error
	case l.Sum != nil:
		p.done = l.Sum
	case !p.quiet:
		fmt.Fprintf(os.Stderr, "checked %d of %d %s\n", l.Done, l.Total, l.What)
	}
}

// verdict prints the sum; its error makes the exit status 1.
func (p *fsckPrinter) verdict() error {
	switch {
	case p.failure != "":
		return fmt.Errorf("the check could not be finished: %s", p.failure)
	case p.done == nil:
		return errors.New("the check was cut before its end; run it again")
	}
	fmt.Printf("%d layers (%d bytes) and %d images checked, %d problems\n", p.done.Layers, p.done.Bytes, p.done.Images, p.problems)
	if p.problems > 0 {
		return fmt.Errorf("%d problems found", p.problems)
	}
	return nil
}
