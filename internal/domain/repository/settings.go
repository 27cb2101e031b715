package repository

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Settings are what can be set for a repository beyond ECR's own settings. The
// zero value is a repository that does what ECR's do.
type Settings struct {
	// DeletionProtection refuses the repository's deletion, also by force.
	DeletionProtection bool
	// RecoveryWindow is how long deleted images, and the repository itself, can be
	// restored; 0: not at all.
	RecoveryWindow time.Duration
	// LifecycleExtended lets the repository's lifecycle policy use Berth's own
	// grammar beside ECR's.
	LifecycleExtended bool
	// LifecycleMultiArch has the images of an index share its fate when a lifecycle
	// policy selects.
	LifecycleMultiArch bool
}

// The names of the settings, as they are written everywhere. A resource tag of
// the name with TagPrefix before it sets one too; a setting of the operator's
// wins over a tag.
const (
	DeletionProtection = "deletion-protection"
	RecoveryWindow     = "recovery-window"
	LifecycleExtended  = "lifecycle-extended"
	LifecycleMultiArch = "lifecycle-multi-arch"

	// TagPrefix begins the resource tags that are settings.
	TagPrefix = "berth:"
)

// The bounds of a recovery window.
const (
	minWindow = time.Hour
	maxWindow = 365 * 24 * time.Hour
)

// settingNames are all settings in the order in which they are shown.
func settingNames() []string {
	return []string{DeletionProtection, RecoveryWindow, LifecycleExtended, LifecycleMultiArch}
}

// set reads the value of one setting. Its error has a text for whoever wrote it.
func (s *Settings) set(setting, value string) (err error) {
	switch setting {
	case DeletionProtection:
		s.DeletionProtection, err = parseSwitch(value)
	case RecoveryWindow:
		s.RecoveryWindow, err = parseWindow(value)
	case LifecycleExtended:
		s.LifecycleExtended, err = parseSwitch(value)
	case LifecycleMultiArch:
		s.LifecycleMultiArch, err = parseSwitch(value)
	default:
		err = errors.New("there is no such setting; the settings are " + strings.Join(settingNames(), ", "))
	}
	return err
}

// value writes one setting as set reads it.
func (s Settings) value(setting string) string {
	switch setting {
	case DeletionProtection:
		return strconv.FormatBool(s.DeletionProtection)
	case LifecycleExtended:
		return strconv.FormatBool(s.LifecycleExtended)
	case LifecycleMultiArch:
		return strconv.FormatBool(s.LifecycleMultiArch)
	}
	const day = 24 * time.Hour
	switch w := s.RecoveryWindow; {
	case w == 0:
		return "0"
	case w%day == 0:
		return strconv.FormatInt(int64(w/day), 10) + "d"
	case w%time.Hour == 0:
		return strconv.FormatInt(int64(w/time.Hour), 10) + "h"
	}
	return s.RecoveryWindow.String()
}

func parseSwitch(value string) (bool, error) {
	switch value {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("its value is true or false")
}

func parseWindow(value string) (time.Duration, error) {
	if value == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if days, ok := strings.CutSuffix(value, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < minWindow || d > maxWindow {
		return 0, errors.New("its value is a time such as 12h or 30d, from 1h to 365d, or 0 for none")
	}
	return d, nil
}

// checkSettingTag refuses a resource tag that looks like a setting and is none.
func checkSettingTag(key, value string) error {
	if !strings.HasPrefix(strings.ToLower(key), TagPrefix) {
		return nil
	}
	// Settings are written in lower case, so any other writing has no such setting.
	setting, _ := strings.CutPrefix(key, TagPrefix)
	if err := new(Settings).set(setting, value); err != nil {
		return errs.New(errs.InvalidResourceTag, "Invalid tag '%s' with the value '%s': tags that begin with '%s' are settings of the repository, and %s", key, value, TagPrefix, err)
	}
	return nil
}

// Where the value of a setting comes from.
const (
	FromDefault = "default"
	FromTag     = "tag"
	FromSetting = "setting"
)

// Setting is the value of one setting that holds.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// From is FromDefault, FromTag or FromSetting.
	From string `json:"from"`
}

// storedSettings reads what is set; what the operator has set stands behind the
// tags, over which it wins. The names of the tags are those of settingNames.
const storedSettings = `SELECT '` + FromTag + `', tag_key, tag_value FROM repository_tag WHERE repository_id = $1
		AND tag_key IN ('berth:deletion-protection', 'berth:recovery-window', 'berth:lifecycle-extended', 'berth:lifecycle-multi-arch')
	UNION ALL SELECT '` + FromSetting + `', name, value FROM repository_setting WHERE repository_id = $1 ORDER BY 1 DESC, 2`

// settingsTx reads the settings, and where those come from that are set.
func settingsTx(ctx context.Context, tx *sqldb.Tx, repositoryID int64) (s Settings, from map[string]string, err error) {
	rows, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (r Setting, err error) {
		return r, row.Scan(&r.From, &r.Name, &r.Value)
	}, storedSettings, repositoryID)
	if err != nil {
		return Settings{}, nil, err
	}
	from = map[string]string{}
	for _, r := range rows {
		setting := strings.TrimPrefix(r.Name, TagPrefix)
		before := s
		switch err := s.set(setting, r.Value); {
		case err == nil:
			from[setting] = r.From
		case r.From == FromTag: // from before such tags meant anything
			s = before
		default:
			return Settings{}, nil, fmt.Errorf("the setting %s of a repository has the value %q: %w", setting, r.Value, err)
		}
	}
	return s, from, nil
}

// SettingsTx reads the settings of a repository, deleted or not.
func SettingsTx(ctx context.Context, tx *sqldb.Tx, repositoryID int64) (Settings, error) {
	s, _, err := settingsTx(ctx, tx, repositoryID)
	return s, err
}

// Settings reads the settings of a repository.
func (s *Service) Settings(ctx context.Context, r Repository) (Settings, error) {
	var all Settings
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = SettingsTx(ctx, tx, r.ID)
		return err
	})
	return all, err
}

// ListSettings shows every setting of the repository with where it comes from.
// errs.RepositoryNotFound.
func (s *Service) ListSettings(ctx context.Context, reg name.Registry, repo name.Repository) ([]Setting, error) {
	var all []Setting
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		r, err := s.GetTx(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		settings, from, err := settingsTx(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		all = nil
		for _, setting := range settingNames() {
			one := Setting{Name: setting, Value: settings.value(setting), From: FromDefault}
			if f, ok := from[setting]; ok {
				one.From = f
			}
			all = append(all, one)
		}
		return nil
	})
	return all, err
}

// SetSetting sets one of the settings for the repository, over a resource tag of
// the same meaning. errs.RepositoryNotFound; errs.InvalidParameter for a name or
// a value that cannot be.
func (s *Service) SetSetting(ctx context.Context, reg name.Registry, repo name.Repository, setting, value string) error {
	if err := new(Settings).set(setting, value); err != nil {
		return errs.New(errs.InvalidParameter, "the setting %s cannot be %q: %s", setting, value, err)
	}
	return s.update(ctx, func(tx *sqldb.Tx) error {
		r, err := s.lockNamed(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO repository_setting (repository_id, name, value) VALUES ($1, $2, $3)
			ON CONFLICT (repository_id, name) DO UPDATE SET value = excluded.value`, r.ID, setting, value)
		return err
	})
}

// UnsetSetting takes a setting back: its resource tag holds then, or the default.
// errs.RepositoryNotFound; errs.InvalidParameter for a name that there is not.
func (s *Service) UnsetSetting(ctx context.Context, reg name.Registry, repo name.Repository, setting string) error {
	known := false
	for _, n := range settingNames() {
		known = known || n == setting
	}
	if !known {
		return errs.New(errs.InvalidParameter, "there is no setting %q; the settings are %s", setting, strings.Join(settingNames(), ", "))
	}
	return s.update(ctx, func(tx *sqldb.Tx) error {
		r, err := s.lockNamed(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM repository_setting WHERE repository_id = $1 AND name = $2`, r.ID, setting)
		return err
	})
}

// protected refuses the deletion of a repository that has deletion protection,
// and says how to lift it.
func protected(r Repository, from string) error {
	lift := "Its operator lifts it with: berth repository settings set " + DeletionProtection + " false --repository " + string(r.Name)
	if from == FromTag {
		lift = "It comes from the resource tag '" + TagPrefix + DeletionProtection + "'; remove that tag first"
	}
	return errs.New(errs.DeletionProtected, "The repository with name '%s' in registry with id '%s' cannot be deleted because it has deletion protection. %s", r.Name, r.Registry.Account, lift)
}
