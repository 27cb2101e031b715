package credential

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/credential/qr"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Quotas (IAM user guide, "IAM and STS quotas").
const (
	maxDevicesPerUser = 8
	// maxVirtualDevices is for all of an account: as many as users.
	maxVirtualDevices = 5000
)

const (
	// seedLength is in bytes; AWS's seeds are 64 characters of base32 as well.
	seedLength = 40
	// maxSerial is the length limit of a serial number in the service model.
	maxSerial = 256
	// qrScale is how many pixels a module of the QR code has.
	qrScale = 4
)

// rootDevice is what AWS's console calls the root user's device. It can have
// another name.
const rootDevice = "root-account-mfa-device"

// Device is a virtual MFA device.
type Device struct {
	// Serial is its ARN.
	Serial string
	// User is who has it; nil while nobody has, and the zero User for the root
	// user.
	User      *User
	CreatedAt time.Time
	// EnabledAt is zero while nobody has it.
	EnabledAt time.Time
}

// NewDevice is a device with its seed, which is shown once.
type NewDevice struct {
	Device
	// Seed is in base32, and QRCode a PNG image of an otpauth address with it.
	Seed   string
	QRCode []byte
	Tags   []tag.Tag
}

// DeviceSerial is the ARN of a device; path begins and ends with a slash.
func DeviceSerial(account name.AccountID, path, deviceName string) string {
	return principal.EntityARN(account, "mfa", path, deviceName)
}

// CreateDevice makes a device that nobody has yet. errs.EntityExists for a path
// and name that are taken, errs.EntityLimit, errs.InvalidInput for tags,
// errs.Validation for a serial number over 256 characters.
func (s *Service) CreateDevice(ctx context.Context, account name.AccountID, path, deviceName string, tags []tag.Tag) (NewDevice, error) {
	serial := DeviceSerial(account, path, deviceName)
	if len(serial) > maxSerial {
		return NewDevice{}, errs.New(errs.Validation, "The serial number %s would have more than %d characters. Choose a shorter path or name.", serial, maxSerial)
	}
	raw := make([]byte, seedLength)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	d := NewDevice{Seed: base32.StdEncoding.EncodeToString(raw), Tags: tags}
	owner, err := s.principals.Account(ctx, account)
	if err != nil {
		return NewDevice{}, err
	}
	if d.QRCode, err = picture(deviceName, owner, d.Seed); err != nil {
		return NewDevice{}, err
	}
	now := s.principals.Now()
	err = s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		var taken, n int64
		err := tx.QueryRow(ctx, `SELECT coalesce(sum(CASE WHEN lower(serial) = lower($2) THEN 1 ELSE 0 END), 0), count(*) FROM iam_mfa_device WHERE account_id = $1`,
			string(account), serial).Scan(&taken, &n)
		switch {
		case err != nil:
			return err
		case taken > 0:
			return errs.New(errs.EntityExists, "MFADevice entity at the same path and name already exists.")
		case n >= maxVirtualDevices:
			return errs.New(errs.EntityLimit, "Cannot exceed quota for VirtualMFADevicesPerAccount: %d", maxVirtualDevices)
		}
		_, err = tx.Exec(ctx, `INSERT INTO iam_mfa_device (serial, account_id, name, path, seed, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
			serial, string(account), deviceName, path, s.principals.SealSecret("mfa "+serial, raw), now.UnixMicro())
		if err != nil {
			return err
		}
		return tag.Put(ctx, tx, serial, "MFADevice", tags)
	})
	d.Device = Device{Serial: serial, CreatedAt: moment(now.UnixMicro())}
	return d, err
}

// picture is the QR code for authenticator apps, with the address that the IAM
// API reference (VirtualMFADevice) gives.
func picture(deviceName string, account principal.Account, seed string) ([]byte, error) {
	at := account.Alias
	if at == "" {
		at = string(account.ID)
	}
	code, err := qr.Encode([]byte("otpauth://totp/" + url.PathEscape(deviceName+"@"+at) + "?secret=" + seed))
	if err != nil {
		return nil, fmt.Errorf("the QR code of %s: %w", deviceName, err)
	}
	return code.PNG(qrScale)
}

// stored is a device's row.
type stored struct {
	serial             string
	user               string // as in the table: "" nobody, the account's number the root user
	sealed             []byte
	created, enabled   int64
	skew, lastStep     int64
	userName, userPath *string
	userCreated        *int64
}

const deviceColumns = `SELECT d.serial, d.user_id, d.seed, d.created_at, d.enabled_at, d.skew, d.last_step, e.name, e.path, e.created_at
	FROM iam_mfa_device d LEFT JOIN iam_entity e ON e.id = d.user_id WHERE d.account_id = $1 AND `

func scanDevice(row sqldb.Scanner) (stored, error) {
	var d stored
	err := row.Scan(&d.serial, &d.user, &d.sealed, &d.created, &d.enabled, &d.skew, &d.lastStep, &d.userName, &d.userPath, &d.userCreated)
	return d, err
}

// device gives the row as others see it. A user that has gone has it no more.
func (d stored) device(account name.AccountID) Device {
	out := Device{Serial: d.serial, CreatedAt: moment(d.created)}
	switch {
	case d.user == string(account):
		out.User = &User{}
	case d.userName != nil:
		out.User = &User{ID: d.user, Name: *d.userName, Path: *d.userPath, CreatedAt: moment(*d.userCreated)}
	default:
		return out
	}
	out.EnabledAt = moment(d.enabled)
	return out
}

// owned is what stands in user_id for a user.
func owned(account name.AccountID, u User) string {
	if u.IsRoot() {
		return string(account)
	}
	return u.ID
}

// loadDevice finds a device of the account.
func loadDevice(ctx context.Context, tx *sqldb.Tx, account name.AccountID, serial string) (stored, error) {
	d, err := scanDevice(tx.QueryRow(ctx, deviceColumns+`d.serial = $2`, string(account), serial))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = errs.New(errs.EntityNotFound, "VirtualMFADevice with serial number %s doesn't exist.", serial)
	}
	return d, err
}

// loadOwned finds a user's device.
func loadOwned(ctx context.Context, tx *sqldb.Tx, account name.AccountID, owner Owner, serial string) (stored, error) {
	u, err := find(ctx, tx, account, owner)
	if err != nil {
		return stored{}, err
	}
	d, err := loadDevice(ctx, tx, account, serial)
	if err == nil && d.user != owned(account, u) {
		err = errs.New(errs.EntityNotFound, "MFA Device invalid for user.")
	}
	return d, err
}

// IsRootDevice says whether the serial number is that of the account's device
// which AWS's console makes for the root user.
func IsRootDevice(account name.AccountID, serial string) bool {
	return serial == DeviceSerial(account, "/", rootDevice)
}

// DeactivateDevice takes a device from its user; it stays, and can be enabled
// again. errs.EntityNotFound.
func (s *Service) DeactivateDevice(ctx context.Context, account name.AccountID, owner Owner, serial string) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		if _, err := loadOwned(ctx, tx, account, owner, serial); err != nil {
			return err
		}
		// last_step stays: no code is taken twice, whoever has the device.
		_, err := tx.Exec(ctx, `UPDATE iam_mfa_device SET user_id = '', enabled_at = 0, skew = 0 WHERE serial = $1`, serial)
		return err
	})
}

// DeleteDevice removes a device with its tags. errs.EntityNotFound,
// errs.EntityInUse while somebody has it.
func (s *Service) DeleteDevice(ctx context.Context, account name.AccountID, serial string) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		d, err := loadDevice(ctx, tx, account, serial)
		if err != nil {
			return err
		}
		if d.device(account).User != nil {
			return errs.New(errs.EntityInUse, "VirtualMFADevice with serial number %s is enabled. Deactivate it first.", serial)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM iam_mfa_device WHERE serial = $1`, serial); err != nil {
			return err
		}
		return tag.Clear(ctx, tx, serial)
	})
}

// UserDevices lists the devices that a user, or the root user, has: limit of
// them after the serial number after. errs.EntityNotFound.
func (s *Service) UserDevices(ctx context.Context, account name.AccountID, owner Owner, after string, limit int) ([]Device, error) {
	var all []Device
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		u, err := find(ctx, tx, account, owner)
		if err != nil {
			return err
		}
		all, err = devices(ctx, tx, account, `d.user_id = $2 AND d.serial > $3 ORDER BY d.serial LIMIT $4`, owned(account, u), after, limit)
		return err
	})
	return all, err
}

// Assignment chooses among devices by whether somebody has them.
type Assignment int

// The choices.
const (
	AnyDevice Assignment = iota
	AssignedDevice
	UnassignedDevice
)

// Devices lists the account's devices: limit of them after the serial number
// after.
func (s *Service) Devices(ctx context.Context, account name.AccountID, which Assignment, after string, limit int) ([]Device, error) {
	const assigned = `(e.id IS NOT NULL OR d.user_id = $1)`
	where := ""
	switch which {
	case AnyDevice:
	case AssignedDevice:
		where = assigned + ` AND `
	case UnassignedDevice:
		where = `NOT ` + assigned + ` AND `
	}
	var all []Device
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		all, err = devices(ctx, tx, account, where+`d.serial > $2 ORDER BY d.serial LIMIT $3`, after, limit)
		return err
	})
	return all, err
}

func devices(ctx context.Context, tx *sqldb.Tx, account name.AccountID, where string, args ...any) ([]Device, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Device, error) {
		d, err := scanDevice(row)
		return d.device(account), err
	}, deviceColumns+where, append([]any{string(account)}, args...)...)
}

// DeviceTags lists a device's tags. errs.EntityNotFound.
func (s *Service) DeviceTags(ctx context.Context, account name.AccountID, serial string) ([]tag.Tag, error) {
	var tags []tag.Tag
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		if _, err := loadDevice(ctx, tx, account, serial); err != nil {
			return err
		}
		var err error
		tags, err = tag.Load(ctx, tx, serial)
		return err
	})
	return tags, err
}

// TagDevice sets tags of a device. errs.EntityNotFound, and those of tag.Put.
func (s *Service) TagDevice(ctx context.Context, account name.AccountID, serial string, tags []tag.Tag) error {
	return s.onDevice(ctx, account, serial, func(tx *sqldb.Tx) error { return tag.Put(ctx, tx, serial, "MFADevice", tags) })
}

// UntagDevice takes tags from a device. errs.EntityNotFound.
func (s *Service) UntagDevice(ctx context.Context, account name.AccountID, serial string, keys []string) error {
	return s.onDevice(ctx, account, serial, func(tx *sqldb.Tx) error { return tag.Remove(ctx, tx, serial, keys) })
}

func (s *Service) onDevice(ctx context.Context, account name.AccountID, serial string, fn func(*sqldb.Tx) error) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		if _, err := loadDevice(ctx, tx, account, serial); err != nil {
			return err
		}
		return fn(tx)
	})
}
