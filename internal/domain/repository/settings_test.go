package repository_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const day = 24 * time.Hour

func TestSettings(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		c := mutable("app")
		c.Tags = map[string]string{"berth:deletion-protection": "true", "berth:lifecycle-extended": "true"}
		r, err := w.Create(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := w.Create(ctx, mutable("plain"))
		if err != nil {
			t.Fatal(err)
		}
		is := func(r repository.Repository, want repository.Settings) {
			t.Helper()
			if got, err := w.Settings(ctx, r); err != nil || got != want {
				t.Errorf("%+v %v, want %+v", got, err, want)
			}
		}
		is(plain, repository.Settings{})
		is(r, repository.Settings{DeletionProtection: true, LifecycleExtended: true})
		for setting, value := range map[string]string{"deletion-protection": "false", "recovery-window": "36h", "lifecycle-multi-arch": "true"} {
			if err := w.SetSetting(ctx, reg, "app", setting, value); err != nil {
				t.Fatal(err)
			}
		}
		is(r, repository.Settings{RecoveryWindow: 36 * time.Hour, LifecycleExtended: true, LifecycleMultiArch: true})
		all, err := w.ListSettings(ctx, reg, "app")
		if want := "[{deletion-protection false setting} {recovery-window 36h setting} {lifecycle-extended true tag} {lifecycle-multi-arch true setting}]"; err != nil || fmt.Sprint(all) != want {
			t.Errorf("%v %v", all, err)
		}
		if all, err = w.ListSettings(ctx, reg, "plain"); err != nil ||
			fmt.Sprint(all) != "[{deletion-protection false default} {recovery-window 0 default} {lifecycle-extended false default} {lifecycle-multi-arch false default}]" {
			t.Errorf("%v %v", all, err)
		}
		if err := w.SetTags(ctx, r, map[string]string{"berth:recovery-window": "7d"}); err != nil {
			t.Fatal(err)
		}
		is(r, repository.Settings{RecoveryWindow: 36 * time.Hour, LifecycleExtended: true, LifecycleMultiArch: true})
		for _, setting := range []string{"deletion-protection", "recovery-window"} {
			if err := w.UnsetSetting(ctx, reg, "app", setting); err != nil {
				t.Fatal(err)
			}
		}
		is(r, repository.Settings{DeletionProtection: true, RecoveryWindow: 7 * day, LifecycleExtended: true, LifecycleMultiArch: true})
		if err := w.SetSetting(ctx, reg, "app", "recovery-window", "0"); err != nil {
			t.Fatal(err)
		}
		is(r, repository.Settings{DeletionProtection: true, LifecycleExtended: true, LifecycleMultiArch: true})
		if err := w.RemoveTags(ctx, r, []string{"berth:deletion-protection", "berth:lifecycle-extended"}); err != nil {
			t.Fatal(err)
		}
		is(r, repository.Settings{LifecycleMultiArch: true})

		if err := w.SetSetting(ctx, reg, "none", "recovery-window", "1h"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Error(err)
		}
		if err := w.UnsetSetting(ctx, reg, "app", "scan"); !errs.Is(err, errs.InvalidParameter) {
			t.Error(err)
		}

		// A tag from before it meant anything is no setting.
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO repository_tag (repository_id, tag_key, tag_value) VALUES ($1, 'berth:recovery-window', 'long')`, plain.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		is(plain, repository.Settings{})
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO repository_setting (repository_id, name, value) VALUES ($1, 'recovery-window', 'long')`, plain.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Settings(ctx, plain); err == nil {
			t.Error("a setting that cannot be read was passed over")
		}
	})
}

func TestSettingValues(t *testing.T) {
	w := open(t, sqldbtest.SQLite(t), nil)
	ctx := t.Context()
	r, err := w.Create(ctx, mutable("app"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		setting, value string
		window         time.Duration
		ok             bool
	}{
		{"recovery-window", "1h", time.Hour, true},
		{"recovery-window", "90m", 90 * time.Minute, true},
		{"recovery-window", "1d", day, true},
		{"recovery-window", "365d", 365 * day, true},
		{"recovery-window", "8760h", 365 * day, true},
		{"recovery-window", "0", 0, true},
		{"recovery-window", "366d", 0, false},
		{"recovery-window", "65536d", 0, false},
		{"recovery-window", "59m", 0, false},
		{"recovery-window", "-1d", 0, false},
		{"recovery-window", "0d", 0, false},
		{"recovery-window", "", 0, false},
		{"recovery-window", "7", 0, false},
		{"recovery-window", "d", 0, false},
		{"recovery-window", "1.5d", 0, false},
		{"deletion-protection", "True", 0, false},
		{"deletion-protection", "", 0, false},
		{"lifecycle-extended", "1", 0, false},
		{"lifecycle-multi-arch", "yes", 0, false},
		{"Recovery-Window", "1d", 0, false},
		{"", "1d", 0, false},
		{"other", "true", 0, false},
	} {
		err := w.SetSetting(ctx, reg, "app", c.setting, c.value)
		if c.ok != (err == nil) || err != nil && !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s = %q: %v", c.setting, c.value, err)
		}
		tagged := w.SetTags(ctx, r, map[string]string{"berth:" + c.setting: c.value})
		if c.ok != (tagged == nil) || tagged != nil && !errs.Is(tagged, errs.InvalidResourceTag) {
			t.Errorf("tag berth:%s = %q: %v", c.setting, c.value, tagged)
		}
		if got, err := w.Settings(ctx, r); c.ok && (err != nil || got.RecoveryWindow != c.window) {
			t.Errorf("%s = %q gives %+v %v", c.setting, c.value, got, err)
		}
	}
	bad := mutable("bad")
	bad.Tags = map[string]string{"BERTH:recovery-window": "1d"}
	_, err = w.Create(ctx, bad)
	if !errs.Is(err, errs.InvalidResourceTag) || !strings.Contains(err.Error(), "the settings are deletion-protection, recovery-window, lifecycle-extended, lifecycle-multi-arch") {
		t.Error(err)
	}
	if err := repository.CheckTags(map[string]string{"berth": "x", "Berth-team": "y", "x:berth:z": "1"}, 50); err != nil {
		t.Errorf("tags that are no settings: %v", err)
	}
}

func TestDeletionProtection(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		for _, n := range []name.Repository{"app", "tagged"} {
			if _, err := w.Create(ctx, mutable(n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.SetSetting(ctx, reg, "app", "deletion-protection", "true"); err != nil {
			t.Fatal(err)
		}
		r, err := w.Get(ctx, reg, "tagged")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.SetTags(ctx, r, map[string]string{"berth:deletion-protection": "true"}); err != nil {
			t.Fatal(err)
		}
		// A window beside it changes nothing.
		if err := w.SetSetting(ctx, reg, "app", "recovery-window", "7d"); err != nil {
			t.Fatal(err)
		}
		untouched := func(context.Context, *sqldb.Tx, repository.Repository) error {
			t.Error("what it holds was released")
			return nil
		}
		for n, want := range map[name.Repository]string{
			"app": "The repository with name 'app' in registry with id '111111111111' cannot be deleted because it has deletion protection. " +
				"Its operator lifts it with: berth repository settings set deletion-protection false --repository app",
			"tagged": "The repository with name 'tagged' in registry with id '111111111111' cannot be deleted because it has deletion protection. " +
				"It comes from the resource tag 'berth:deletion-protection'; remove that tag first",
		} {
			for _, force := range []bool{false, true} {
				if _, err := w.Delete(ctx, reg, n, force, untouched); !errs.Is(err, errs.DeletionProtected) || err.Error() != want {
					t.Errorf("%v", err)
				}
			}
			if _, err := w.Get(ctx, reg, n); err != nil {
				t.Error(err)
			}
		}
		if err := w.RemoveTags(ctx, r, []string{"berth:deletion-protection"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Delete(ctx, reg, "tagged", false, nothing); err != nil {
			t.Error(err)
		}
		if err := w.SetSetting(ctx, reg, "app", "deletion-protection", "false"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Delete(ctx, reg, "app", false, untouched); err != nil {
			t.Error(err)
		}
	})
}
