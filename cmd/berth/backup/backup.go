// Package backup is the commands `berth backup` and `berth restore`.
//
// It decides whether a running server is asked or the data directory opened, and
// shows how it goes; app/backup does the work.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/app/backup"
	"github.com/berth-registry/berth/internal/app/backup/dump"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Program is what the commands need of the program around them.
type Program struct {
	Version string
	Log     func(io.Writer, config.Log) *slog.Logger
	// Fsck checks a deployment that no server runs on, and shows what it finds.
	Fsck func(context.Context, config.Config) error
}

// Command is `berth backup`.
type Command struct {
	Create  createCommand  `cmd:"" default:"withargs" help:"Back everything up into a directory: beside a running server, or without one."`
	List    listCommand    `cmd:"" help:"List the snapshots of a backup directory."`
	Verify  verifyCommand  `cmd:"" help:"Read a backup again and compare it with its checksums."`
	Prune   pruneCommand   `cmd:"" help:"Remove all but the newest snapshots, and the objects that only they have."`
	Hold    holdCommand    `cmd:"" help:"Keep deleted layers' objects for a while, for a copy by other tools."`
	Release releaseCommand `cmd:"" help:"End a hold."`
}

// Help explains what a backup is.
func (Command) Help() string {
	return `Each run adds a snapshot to the directory: all metadata, the keys, and the list of
objects that belong to it. An object is copied once, however many snapshots have
it. A run that is cut leaves no snapshot; the next one goes on with what is there.

The keys open everything: keep the directory as safe as the server itself.
docs/backup.md says more, also on backups with the tools of PostgreSQL and S3.`
}

type directory struct {
	Dir string `arg:"" placeholder:"DIR" help:"Backup directory."`
}

type progress struct {
	Quiet bool `short:"q" help:"Show no progress."`
}

type shown struct {
	progress
	JSON bool `name:"json" help:"Print the result as JSON."`
}

// report shows progress on standard error.
func (s progress) report(l backup.Line) {
	switch {
	case s.Quiet:
	case l.Note != "":
		fmt.Fprintln(os.Stderr, l.Note)
	case l.Total > 0:
		fmt.Fprintf(os.Stderr, "%d of %d %s, %s, %s/s\n", l.Done, l.Total, l.What, size(l.Bytes), size(l.PerSecond))
	default:
		fmt.Fprintf(os.Stderr, "%d %s, %s, %s/s\n", l.Done, l.What, size(l.Bytes), size(l.PerSecond))
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, "KMGTP"
	for value >= unit && len(prefix) > 1 {
		value, prefix = value/unit, prefix[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, prefix[0])
}

// with opens a directory of backups for do.
func with(open func(string) (*backup.Dir, error), path string, do func(*backup.Dir) error) error {
	d, err := open(path)
	if err != nil {
		return err
	}
	return errors.Join(do(d), d.Close())
}

type createCommand struct {
	directory
	config.Settings
	shown
	Prune int `placeholder:"N" help:"Then keep the newest N snapshots and remove the others."`
}

// Run makes a backup.
func (c createCommand) Run(ctx context.Context, out io.Writer, p Program) error {
	if c.Prune < 0 {
		return errors.New("--prune: at least one snapshot has to be kept")
	}
	cfg, err := c.Load()
	if err != nil {
		return err
	}
	return with(backup.Create, c.Dir, func(d *backup.Dir) error {
		made, err := c.make(ctx, cfg, p, d)
		if err != nil {
			return err
		}
		var pruned backup.Pruned
		if c.Prune > 0 {
			if pruned, err = d.Prune(ctx, c.Prune); err != nil {
				return fmt.Errorf("the backup is made, but older ones cannot be removed: %w", err)
			}
		}
		if c.JSON {
			err = console.JSON(out, struct {
				backup.Made
				Pruned backup.Pruned `json:"pruned"`
			}{made, pruned})
		} else {
			_, err = fmt.Fprintf(out, "snapshot %s: %d objects (%s), %d of them new\n", made.ID, made.Objects, size(made.Bytes), made.Copied)
			if c.Prune > 0 {
				err = errors.Join(err, printPruned(out, pruned))
			}
		}
		if err == nil && made.Missing > 0 {
			err = fmt.Errorf("the backup is made, but %d objects are missing or damaged in the deployment; see berth fsck", made.Missing)
		}
		return err
	})
}

// make asks the running server; without one it opens what the settings name.
func (c createCommand) make(ctx context.Context, cfg config.Config, p Program, d *backup.Dir) (backup.Made, error) {
	owner := fmt.Sprintf("berth backup, process %d", os.Getpid())
	if host, err := os.Hostname(); err == nil {
		owner += " on " + host
	}
	made, err := d.Make(ctx, &backup.Remote{HTTP: app.AdminClient(cfg.Data)}, owner, c.report)
	if !errors.Is(err, app.ErrNoServer) {
		return made, err
	}
	o := backends.Options{Clock: clock.System{}, Log: p.Log(os.Stderr, cfg.Log)}
	b, err := backends.Existing(ctx, cfg, o)
	if err != nil {
		return made, err
	}
	made, err = d.Make(ctx, &backup.Local{
		Backends: b, Clock: o.Clock, Log: o.Log, Header: dump.Header{Program: p.Version, Account: cfg.Account, Region: cfg.Region},
	}, owner, c.report)
	return made, errors.Join(err, b.Close())
}

type listCommand struct {
	directory
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the snapshots.
func (c listCommand) Run(out io.Writer) error {
	return with(backup.Open, c.Dir, func(d *backup.Dir) error {
		all, err := d.Snapshots()
		if err != nil {
			return err
		}
		if c.JSON {
			return console.JSON(out, append([]backup.Snapshot{}, all...))
		}
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		_, err = fmt.Fprintln(t, "SNAPSHOT\tTAKEN\tOBJECTS\tBYTES\tIMAGES\tMISSING")
		for _, s := range all {
			_, lineErr := fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%d\t%d\n", s.ID, s.Taken.Local().Format(time.DateTime), s.Objects, size(s.Bytes), s.Rows["image"], s.Missing)
			err = errors.Join(err, lineErr)
		}
		return errors.Join(err, t.Flush())
	})
}

type verifyCommand struct {
	directory
	shown
	Snapshot string `placeholder:"ID" help:"Only this snapshot (default: all)."`
}

// Run reads a backup again.
func (c verifyCommand) Run(ctx context.Context, out io.Writer) error {
	return with(backup.Open, c.Dir, func(d *backup.Dir) error {
		v, err := d.Verify(ctx, c.Snapshot, func(text string) { fmt.Fprintln(os.Stderr, "problem:", text) }, c.report)
		if err != nil {
			return err
		}
		if c.JSON {
			err = console.JSON(out, v)
		} else {
			_, err = fmt.Fprintf(out, "%d snapshots and %d objects (%s) read, %d problems\n", v.Snapshots, v.Objects, size(v.Bytes), v.Problems)
			if v.Missing > 0 {
				_, lineErr := fmt.Fprintf(out, "%d objects were missing already when the backup was made\n", v.Missing)
				err = errors.Join(err, lineErr)
			}
		}
		if err == nil && v.Problems > 0 {
			err = fmt.Errorf("%d problems found: this backup cannot be relied on", v.Problems)
		}
		return err
	})
}

type pruneCommand struct {
	directory
	Keep int  `required:"" placeholder:"N" help:"How many of the newest snapshots to keep."`
	JSON bool `name:"json" help:"Print JSON."`
}

// Run removes old snapshots.
func (c pruneCommand) Run(ctx context.Context, out io.Writer) error {
	return with(backup.Create, c.Dir, func(d *backup.Dir) error {
		p, err := d.Prune(ctx, c.Keep)
		if err != nil {
			return err
		}
		if c.JSON {
			return console.JSON(out, p)
		}
		return printPruned(out, p)
	})
}

func printPruned(out io.Writer, p backup.Pruned) error {
	_, err := fmt.Fprintf(out, "removed %d snapshots and %d objects (%s)\n", p.Snapshots, p.Objects, size(p.Bytes))
	return err
}

// server are the flags of what only a running server does.
type server struct {
	Data string `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
}

func (s server) words(err error) error {
	if errors.Is(err, app.ErrNoServer) {
		return fmt.Errorf("no server is running on %s; start one with: berth serve --data %s", s.Data, s.Data)
	}
	return err
}

type holdCommand struct {
	server
	For   time.Duration `required:"" placeholder:"6h" help:"How long, at most 24h."`
	Owner string        `default:"berth backup hold" help:"Who holds, for those who look with berth gc status."`
}

// Run begins a hold.
func (c holdCommand) Run(ctx context.Context, out io.Writer) error {
	id, err := (&backup.Remote{HTTP: app.AdminClient(c.Data)}).Hold(ctx, c.Owner, c.For)
	if err != nil {
		return c.words(err)
	}
	_, err = fmt.Fprintln(out, id)
	return err
}

type releaseCommand struct {
	server
	ID string `arg:"" help:"What berth backup hold printed."`
}

// Run ends a hold. That it had ended before is an error: what was copied under it
// cannot be relied on.
func (c releaseCommand) Run(ctx context.Context) error {
	return c.words((&backup.Remote{HTTP: app.AdminClient(c.Data)}).Release(ctx, c.ID))
}

// Restore is `berth restore`.
type Restore struct {
	directory
	config.Settings
	progress
	Snapshot string `placeholder:"ID" help:"Snapshot to restore (default: the newest)."`
	Verify   string `enum:"full,fast" default:"full" help:"full (then check everything as berth fsck does, the default) or fast (only compare checksums while copying)."`
}

// Help explains what can be restored, and where.
func (Restore) Help() string {
	return `The deployment that the settings describe has to be empty. It need not be of the
shape that the backup was made of: from SQLite and files to PostgreSQL and object
storage, back, or any mix. A restore that is cut goes on when it is run again.`
}

// Run restores a snapshot.
func (c Restore) Run(ctx context.Context, out io.Writer, p Program) error {
	cfg, err := c.Load()
	if err != nil {
		return err
	}
	return with(backup.Open, c.Dir, func(d *backup.Dir) error {
		done, err := d.Restore(ctx, cfg, backup.Restoring{Snapshot: c.Snapshot, Clock: clock.System{}, Log: p.Log(os.Stderr, cfg.Log), Report: c.report})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "snapshot %s is restored: %d objects (%s), %d of them were not there yet\n", done.ID, done.Objects, size(done.Bytes), done.Copied)
		if err != nil || c.Verify == "fast" {
			return err
		}
		return p.Fsck(ctx, cfg)
	})
}
