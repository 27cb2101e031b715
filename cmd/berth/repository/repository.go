// Package repository is the commands of `berth repository`: settings of
// repositories, and what was deleted and can be restored.
//
// It does no work itself; the running server does, over its administration socket
// (app/repositoryadmin).
package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/repositoryadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Admin sends one request to the server that runs on a data directory, and reads
// its answer into out.
type Admin func(ctx context.Context, data, method, path string, in, out any) error

// Command is `berth repository`.
type Command struct {
	Settings settingsCommand `cmd:"" help:"Show or change what can be set for a repository beyond ECR's settings."`
	Deleted  deletedCommand  `cmd:"" help:"List, restore or purge what was deleted from repositories with a recovery window."`
}

// common are the flags of all commands.
type common struct {
	Data    string         `env:"BERTH_DATA" default:"./berth-data" placeholder:"DIR" help:"Data directory of the running server (default ./berth-data)."`
	Account name.AccountID `help:"Account of the repository (default: the server's)."`
	Region  name.Region    `help:"Region of the repository (default: the server's)."`
	JSON    bool           `name:"json" help:"Print JSON."`
}

func (c common) target(repo name.Repository) repositoryadmin.Target {
	return repositoryadmin.Target{Account: c.Account, Region: c.Region, Repository: repo}
}

type named struct {
	common
	Repository name.Repository `required:"" help:"Name of the repository."`
}

type settingsCommand struct {
	Get   settingsGet   `cmd:"" help:"Show all settings, and where each value comes from."`
	Set   settingsSet   `cmd:"" help:"Set one."`
	Unset settingsUnset `cmd:"" help:"Take one back: its resource tag holds then, or the default."`
}

// Help explains the settings.
func (settingsCommand) Help() string {
	return `deletion-protection    true: the repository cannot be deleted, also not by force
recovery-window        12h, 30d: how long what is deleted can be restored, 1h to
                       365d; 0: not at all
lifecycle-extended     true: its lifecycle policy may use Berth's extended grammar
lifecycle-multi-arch   true: a lifecycle policy takes an index and its images as one

A resource tag of the name with "berth:" before it sets one too, for those who work
with tags; what is set here wins.`
}

type settingsGet struct{ named }

// Run shows the settings.
func (c settingsGet) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.settings(ctx, out, call, repositoryadmin.SettingRequest{Do: "get"})
}

type settingsSet struct {
	named
	Name  string `arg:"" help:"Name of the setting."`
	Value string `arg:"" help:"Its value."`
}

// Run sets one.
func (c settingsSet) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.settings(ctx, out, call, repositoryadmin.SettingRequest{Do: "set", Name: c.Name, Value: c.Value})
}

type settingsUnset struct {
	named
	Name string `arg:"" help:"Name of the setting."`
}

// Run takes one back.
func (c settingsUnset) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.settings(ctx, out, call, repositoryadmin.SettingRequest{Do: "unset", Name: c.Name})
}

func (c named) settings(ctx context.Context, out io.Writer, call Admin, in repositoryadmin.SettingRequest) error {
	in.Target = c.target(c.Repository)
	var all []repository.Setting
	if err := call(ctx, c.Data, http.MethodPost, "/repositories/settings", in, &all); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	rows := [][]string{{"SETTING", "VALUE", "FROM"}}
	for _, s := range all {
		rows = append(rows, []string{s.Name, s.Value, s.From})
	}
	return printTable(out, rows)
}

type deletedCommand struct {
	List    deletedList    `cmd:"" help:"List deleted images and repositories, and until when they are kept."`
	Restore deletedRestore `cmd:"" help:"Bring back an image, or a repository with all that it held."`
	Purge   deletedPurge   `cmd:"" help:"Remove something for good before its time, to have its bytes free."`
}

type deletedList struct {
	common
	Repository name.Repository `help:"Only this repository and its images (default: all)."`
}

// Run lists the bin.
func (c deletedList) Run(ctx context.Context, out io.Writer, call Admin) error {
	all := []repositoryadmin.Deleted{}
	for _, images := range []bool{false, true} {
		for in := (repositoryadmin.ListRequest{Target: c.target(c.Repository), Images: images}); ; {
			var page repositoryadmin.Page
			if err := call(ctx, c.Data, http.MethodPost, "/repositories/deleted/list", in, &page); err != nil {
				return err
			}
			all = append(all, page.Entries...)
			if in.After = page.After; in.After == 0 {
				break
			}
		}
	}
	if c.JSON {
		return console.JSON(out, all)
	}
	rows := [][]string{{"REPOSITORY", "IMAGE", "TAGS", "DELETED", "KEPT UNTIL", "NUMBER"}}
	for _, d := range all {
		rows = append(rows, []string{string(d.Repository), what(d), tagList(d.Tags), console.Minute(d.DeletedAt), console.Minute(d.KeptUntil), strconv.FormatInt(d.ID, 10)})
	}
	return printTable(out, rows)
}

// what says which image an entry is, or how many a repository holds.
func what(d repositoryadmin.Deleted) string {
	switch {
	case d.Digest != "":
		return string(d.Digest)
	case d.Images == 1:
		return "(the repository, with 1 image)"
	}
	return fmt.Sprintf("(the repository, with %d images)", d.Images)
}

type deletedRestore struct {
	named
	Image    string          `placeholder:"DIGEST|TAG" help:"Image to restore (default: the repository itself). A tag means the image that had it and was deleted last."`
	MoveTags bool            `help:"Take the image's tags back from images that have them meanwhile, where they are not immutable."`
	As       name.Repository `placeholder:"NAME" help:"Restore the repository under another name."`
	Number   int64           `help:"Which of several deleted repositories of the name (default: the one deleted last)."`
}

// Run restores.
func (c deletedRestore) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := repositoryadmin.RestoreRequest{Target: c.target(c.Repository), Image: c.Image, MoveTags: c.MoveTags, As: c.As, ID: c.Number}
	var answer repositoryadmin.RestoreAnswer
	if err := call(ctx, c.Data, http.MethodPost, "/repositories/deleted/restore", in, &answer); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, answer)
	}
	if c.Image == "" {
		_, err := fmt.Fprintf(out, "Restored the repository %s. Images in it: %d.\n", answer.Repository, answer.Held)
		return err
	}
	for _, i := range answer.Images {
		with := "without a tag"
		if len(i.Tags) > 0 {
			with = "with the tags " + tagList(i.Tags)
		}
		if _, err := fmt.Fprintf(out, "Restored %s %s.\n", i.Digest, with); err != nil {
			return err
		}
		for _, e := range i.Elsewhere {
			why := "--move-tags would move it"
			if e.Immutable {
				why = "it is immutable"
			}
			if _, err := fmt.Fprintf(out, "The tag %s stays on %s: %s.\n", e.Tag, orAnother(e.On), why); err != nil {
				return err
			}
		}
	}
	return nil
}

func orAnother(d name.Digest) string {
	if d == "" {
		return "another image"
	}
	return string(d)
}

type deletedPurge struct {
	named
	Image     string `placeholder:"DIGEST|TAG" help:"Image to purge (default: the deleted repository)."`
	AllImages bool   `help:"Purge all deleted images of the repository."`
	Number    int64  `help:"Which of several deleted repositories of the name."`
}

// Run purges.
func (c deletedPurge) Run(ctx context.Context, out io.Writer, call Admin) error {
	if c.Image != "" && c.AllImages {
		return errors.New("name one image, or all, not both")
	}
	in := repositoryadmin.PurgeRequest{Target: c.target(c.Repository), Image: c.Image, AllImages: c.AllImages, ID: c.Number}
	var gone []repositoryadmin.Deleted
	if err := call(ctx, c.Data, http.MethodPost, "/repositories/deleted/purge", in, &gone); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, gone)
	}
	for _, d := range gone {
		if _, err := fmt.Fprintf(out, "Purged %s %s\n", d.Repository, what(d)); err != nil {
			return err
		}
	}
	return nil
}

func tagList(tags []name.Tag) string {
	all := make([]string, len(tags))
	for i, t := range tags {
		all[i] = string(t)
	}
	return strings.Join(all, ",")
}

// printTable prints rows in aligned columns, an empty cell as a dash.
func printTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range rows {
		for i, cell := range cells {
			if cell == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(cells, "\t")) // its errors come from Flush
	}
	return t.Flush()
}
