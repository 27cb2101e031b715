// Command berth is Amazon ECR that anyone can run: one binary that serves the
// registry and its AWS APIs, and administers them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/cmd/berth/audit"
	"github.com/berth-registry/berth/cmd/berth/backup"
	"github.com/berth-registry/berth/cmd/berth/events"
	"github.com/berth-registry/berth/cmd/berth/gc"
	"github.com/berth-registry/berth/cmd/berth/healthcheck"
	"github.com/berth-registry/berth/cmd/berth/migrate"
	"github.com/berth-registry/berth/cmd/berth/peer"
	"github.com/berth-registry/berth/cmd/berth/public"
	"github.com/berth-registry/berth/cmd/berth/quotas"
	"github.com/berth-registry/berth/cmd/berth/replication"
	"github.com/berth-registry/berth/cmd/berth/repository"
	"github.com/berth-registry/berth/cmd/berth/scan"
	"github.com/berth-registry/berth/cmd/berth/usage"
	"github.com/berth-registry/berth/cmd/berth/vulndb"
)

// commands are all commands of the program; each has its own file.
type commands struct {
	Serve        serveCommand        `cmd:"" help:"Serve the registry and its APIs."`
	Env          envCommand          `cmd:"" help:"Print the environment for AWS clients: eval \"$(berth env)\"."`
	Fsck         fsckCommand         `cmd:"" help:"Check that everything stored is whole, beside a running server or without one."`
	Keys         keysCommand         `cmd:"" help:"List, create, rotate, enable or disable encryption keys."`
	Account      accountCommand      `cmd:"" help:"Create, list or show accounts, or make root access keys."`
	Repository   repository.Command  `cmd:"" help:"Settings of repositories beyond ECR's, and what was deleted from them."`
	Organization organizationCommand `cmd:"" help:"Group accounts, and limit them with service control policies."`
	GC           gc.Command          `cmd:"" name:"gc" help:"Show how the collection of garbage stands, or collect now."`
	Jobs         jobsCommand         `cmd:"" help:"List the work that waits, runs or has failed, try it again, or discard it."`
	Peer         peer.Command        `cmd:"" help:"Exchange keys with other deployments, for replication between them."`
	Replication  replication.Command `cmd:"" help:"Show where images are copied to, and set what ECR has no setting for."`
	Scan         scan.Command        `cmd:"" help:"Show how scans stand, hold images back by what they found, and scan by tags."`
	Public       public.Command      `cmd:"" help:"Decide about the aliases of public registries, and verify publishers."`
	SBOM         scan.SBOM           `cmd:"" name:"sbom" help:"Write the bill of materials of an image."`
	VulnDB       vulndb.Command      `cmd:"" name:"vulndb" help:"Show, fetch or import the database of vulnerabilities that images are matched with."`
	Events       events.Command      `cmd:"" help:"Say where events can go, and see to those that did not get there."`
	Audit        audit.Command       `cmd:"" help:"Find records of the audit trail, and check the files of trails."`
	Usage        usage.Command       `cmd:"" help:"Report storage and transfer by account, repository or tag."`
	Quota        quotas.Command      `cmd:"" help:"List the quotas of an account, set them, or decide about requests for more."`
	Explain      explainCommand      `cmd:"" help:"Say who may do what, and why; exit status 3 when denied."`
	Lifecycle    lifecycleCommand    `cmd:"" help:"Try out lifecycle policies."`
	Healthcheck  healthcheck.Command `cmd:"" help:"Ask a server whether it takes requests; exit status 1 when it does not."`
	Backup       backup.Command      `cmd:"" help:"Back everything up, beside a running server or without one."`
	Restore      backup.Restore      `cmd:"" help:"Bring a backup into an empty deployment, of the same shape or another."`
	Migrate      migrate.Command     `cmd:"" help:"Show or bring up to date the form of the databases."`
	Version      versionCommand      `cmd:"" help:"Print the version."`
	ScanWorker   scanWorkerCommand   `cmd:"" hidden:"" help:"What the server starts to scan images."`
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parser, err := newParser(ctx, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "berth:", err)
		return 1
	}
	parsed, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	// What runs for long runs when nobody refers to the parser and to all that it knows of the
	// commands any more.
	var last func() error
	if err = parsed.Run(&last); err == nil && last != nil {
		err = last()
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "berth:", err)
		return 1
	}
	return 0
}

// newParser reads the command line; commands print to out.
func newParser(ctx context.Context, out io.Writer) (*kong.Kong, error) {
	return kong.New(&commands{},
		kong.Name("berth"),
		kong.Description("Amazon ECR that anyone can run."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(out, (*io.Writer)(nil)),
		kong.Bind(repository.Admin(admin), peer.Admin(admin), scan.Admin(admin), public.Admin(admin), quotas.Admin(admin), events.Admin(admin), audit.Admin(admin), usage.Admin(admin), backup.Program{Version: version(), Log: newLogger, Fsck: fsckRestored}),
	)
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run() error {
	_, err := fmt.Println("berth", version())
	return err
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v += "-" + s.Value[:12]
			}
		}
	}
	return v + " (" + info.GoVersion + ")"
}
