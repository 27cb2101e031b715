package credential_test

import (
	"bytes"
	"encoding/base32"
	"fmt"
	"image/png"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/credential/totp"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	badPair  = "Authentication code for device is not valid."
	badCode  = "MultiFactorAuthentication failed with invalid MFA one time pass code."
	foreign  = "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user."
	resting  = "MultiFactorAuthentication failed, too many invalid MFA one time pass codes. Wait a minute, then try again."
	halfCode = "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."
)

// app is an authenticator app: what the QR code gives it, and its own clock.
type app struct {
	w      world
	serial string
	seed   []byte
	skew   int64 // steps that its clock is ahead
}

func (w world) device(t *testing.T, deviceName string) *app {
	t.Helper()
	d, err := w.CreateDevice(t.Context(), account, "/", deviceName, nil)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := base32.StdEncoding.DecodeString(d.Seed)
	if err != nil {
		t.Fatal(err)
	}
	return &app{w: w, serial: d.Serial, seed: seed}
}

// code is what the app shows, steps from now.
func (a *app) code(steps int64) string {
	return totp.Code(a.seed, totp.Step(a.w.clk.Now())+a.skew+steps)
}

// wrong is a code of no step anywhere near.
func (a *app) wrong() string {
	for i := 0; ; i++ {
		c := fmt.Sprintf("%06d", i)
		if _, found := totp.Find(a.seed, c, totp.Step(a.w.clk.Now())-1000, totp.Step(a.w.clk.Now())+1000); !found {
			return c
		}
	}
}

// enable gives the device to its owner, and lets the codes of that pass.
func (a *app) enable(t *testing.T, owner credential.Owner) *app {
	t.Helper()
	if err := a.w.EnableDevice(t.Context(), account, owner, a.serial, a.code(-1), a.code(0)); err != nil {
		t.Fatal(err)
	}
	a.w.clk.Advance(5 * totp.Period)
	return a
}

func TestCreateDevice(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		tags := []tag.Tag{{Key: "Team", Value: "red"}}
		d, err := w.CreateDevice(ctx, account, "/ops/", "phone", tags)
		if err != nil || d.Serial != "arn:aws:iam::111111111111:mfa/ops/phone" || len(d.Seed) != 64 || !slices.Equal(d.Tags, tags) || d.User != nil || !d.EnabledAt.IsZero() {
			t.Fatalf("%+v %v", d, err)
		}
		if _, err := png.Decode(bytes.NewReader(d.QRCode)); err != nil {
			t.Error(err)
		}
		raw, err := base32.StdEncoding.DecodeString(d.Seed)
		if err != nil {
			t.Fatal(err)
		}
		var stored []byte
		if err := db.View(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, `SELECT seed FROM iam_mfa_device`).Scan(&stored) }); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(stored, raw) || bytes.Contains(stored, []byte(d.Seed)) {
			t.Error("the seed stands in the database as it is")
		}
		const taken = "MFADevice entity at the same path and name already exists."
		_, err = w.CreateDevice(ctx, account, "/ops/", "PHONE", nil)
		refused(t, err, errs.EntityExists, taken)
		if _, err = w.CreateDevice(ctx, account, "/", "phone", nil); err != nil {
			t.Errorf("on another path: %v", err)
		}
		if _, err = w.CreateDevice(ctx, other, "/ops/", "phone", nil); err != nil {
			t.Errorf("in another account: %v", err)
		}
		_, err = w.CreateDevice(ctx, account, "/", "x", []tag.Tag{{Key: "a"}, {Key: "A"}})
		refused(t, err, errs.InvalidInput, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		long := strings.Repeat("x", 227)
		_, err = w.CreateDevice(ctx, account, "/", long, nil)
		if !errs.Is(err, errs.Validation) {
			t.Errorf("a serial number of 257 characters: %v", err)
		}
		if _, err = w.CreateDevice(ctx, account, "/", long[:226], nil); err != nil {
			t.Errorf("one of 256: %v", err)
		}
		_, err = w.CreateDevice(ctx, "999999999999", "/", "x", nil)
		if !errs.Is(err, errs.EntityNotFound) {
			t.Errorf("no account: %v", err)
		}
	})
}

func TestVirtualDeviceQuota(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for i := range 5000 {
				_, err := tx.Exec(ctx, `INSERT INTO iam_mfa_device (serial, account_id, name, path, seed, created_at) VALUES ($1, $2, 'n', '/', $3, 0)`,
					fmt.Sprintf("s%d", i), string(account), []byte{})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.CreateDevice(ctx, account, "/", "x", nil)
		refused(t, err, errs.EntityLimit, "Cannot exceed quota for VirtualMFADevicesPerAccount: 5000")
	})
}

func TestEnableDevice(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		a := w.device(t, "phone")
		enable := func(owner credential.Owner, first, second string) error {
			return w.EnableDevice(ctx, account, owner, a.serial, first, second)
		}
		refused(t, enable(bay, a.code(0), a.code(-1)), errs.AuthenticationCode, badPair)
		refused(t, enable(bay, a.code(0), a.code(0)), errs.AuthenticationCode, badPair)
		refused(t, enable(bay, a.code(-2), a.code(0)), errs.AuthenticationCode, badPair)
		refused(t, enable(bay, a.wrong(), a.code(0)), errs.AuthenticationCode, badPair)
		refused(t, enable(bay, a.code(-3), a.code(-2)), errs.AuthenticationCode, badPair) // a minute ago
		refused(t, enable(bay, a.code(1), a.code(2)), errs.AuthenticationCode, badPair)
		refused(t, enable(credential.Owner{Name: "mallows"}, a.code(-1), a.code(0)), errs.EntityNotFound, "The user with name mallows cannot be found.")
		refused(t, w.EnableDevice(ctx, account, bay, a.serial+"x", a.code(-1), a.code(0)), errs.EntityNotFound, "VirtualMFADevice with serial number "+a.serial+"x doesn't exist.")
		refused(t, w.EnableDevice(ctx, other, bay, a.serial, a.code(-1), a.code(0)), errs.EntityNotFound, "VirtualMFADevice with serial number "+a.serial+" doesn't exist.")
		if err := enable(bay, a.code(-2), a.code(-1)); err != nil {
			t.Errorf("with slow fingers: %v", err)
		}
		refused(t, enable(elm, a.code(-1), a.code(0)), errs.EntityExists, "MFA Device is already in use.")
		refused(t, w.DeleteDevice(ctx, account, a.serial), errs.EntityInUse, "VirtualMFADevice with serial number "+a.serial+" is enabled. Deactivate it first.")
		refused(t, w.DeactivateDevice(ctx, account, elm, a.serial), errs.EntityNotFound, "MFA Device invalid for user.")
		refused(t, w.ResyncDevice(ctx, account, elm, a.serial, a.code(0), a.code(1)), errs.EntityNotFound, "MFA Device invalid for user.")
		if err := w.DeactivateDevice(ctx, account, bay, a.serial); err != nil {
			t.Fatal(err)
		}
		refused(t, w.DeactivateDevice(ctx, account, bay, a.serial), errs.EntityNotFound, "MFA Device invalid for user.")
		// What was seen once enables it for nobody else.
		refused(t, enable(elm, a.code(-2), a.code(-1)), errs.AuthenticationCode, badPair)
		refused(t, enable(elm, a.code(-1), a.code(0)), errs.AuthenticationCode, badPair)
		if err := enable(elm, a.code(0), a.code(1)); err != nil {
			t.Errorf("for another user: %v", err)
		}
		if err := w.DeactivateDevice(ctx, account, elm, a.serial); err != nil {
			t.Fatal(err)
		}
		if err := w.TagDevice(ctx, account, a.serial, []tag.Tag{{Key: "k", Value: "v"}}); err != nil {
			t.Fatal(err)
		}
		if err := w.DeleteDevice(ctx, account, a.serial); err != nil {
			t.Fatal(err)
		}
		refused(t, w.DeleteDevice(ctx, account, a.serial), errs.EntityNotFound, "VirtualMFADevice with serial number "+a.serial+" doesn't exist.")
		if n := w.text(t, `SELECT CAST(count(*) AS TEXT) FROM iam_tag`); n != "0" {
			t.Errorf("%s tags are left", n)
		}
	})
}

func TestDevicesPerUser(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		for _, owner := range []credential.Owner{bay, root} {
			for i := range 8 {
				w.device(t, fmt.Sprintf("%s%d", owner.Name, i)).enable(t, owner)
			}
			a := w.device(t, owner.Name+"ninth")
			refused(t, w.EnableDevice(ctx, account, owner, a.serial, a.code(-1), a.code(0)), errs.EntityLimit, "Cannot exceed quota for MFADevicesPerUser: 8")
			all, err := w.UserDevices(ctx, account, owner, "", 100)
			if err != nil || len(all) != 8 || all[0].User.Name != owner.Name {
				t.Errorf("%+v %v", all, err)
			}
		}
	})
}

func TestListDevices(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		w.device(t, "a").enable(t, bay)
		w.device(t, "b")
		w.device(t, "root-account-mfa-device").enable(t, root)
		gone := w.device(t, "z").enable(t, elm)
		w.exec(t, `DELETE FROM iam_entity WHERE id = $1`, eveID) // which principal/entity refuses
		names := func(all []credential.Device, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for _, d := range all {
				who := "nobody"
				if d.User != nil {
					who = d.User.ARN(account)
				}
				if (d.User == nil) != d.EnabledAt.IsZero() {
					t.Errorf("%+v", d)
				}
				out = append(out, d.Serial[strings.LastIndex(d.Serial, "/")+1:]+" "+who[strings.LastIndexAny(who, ":/")+1:])
			}
			return strings.Join(out, ", ")
		}
		for _, c := range []struct {
			which credential.Assignment
			after string
			limit int
			want  string
		}{
			{credential.AnyDevice, "", 10, "a Bay, b nobody, root-account-mfa-device root, z nobody"},
			{credential.AnyDevice, "", 2, "a Bay, b nobody"},
			{credential.AnyDevice, credential.DeviceSerial(account, "/", "b"), 10, "root-account-mfa-device root, z nobody"},
			{credential.AssignedDevice, "", 10, "a Bay, root-account-mfa-device root"},
			{credential.UnassignedDevice, "", 10, "b nobody, z nobody"},
		} {
			if got := names(w.Devices(ctx, account, c.which, c.after, c.limit)); got != c.want {
				t.Errorf("%+v: %s", c, got)
			}
		}
		if got := names(w.Devices(ctx, other, credential.AnyDevice, "", 10)); got != "" {
			t.Errorf("another account: %s", got)
		}
		if got := names(w.UserDevices(ctx, account, bay, "", 10)); got != "a Bay" {
			t.Errorf("Bay: %s", got)
		}
		if got := names(w.UserDevices(ctx, account, root, "", 10)); got != "root-account-mfa-device root" {
			t.Errorf("root: %s", got)
		}
		if _, err := w.UserDevices(ctx, account, elm, "", 10); !errs.Is(err, errs.EntityNotFound) {
			t.Errorf("elm: %v", err)
		}
		if err := w.DeleteDevice(ctx, account, gone.serial); err != nil {
			t.Errorf("a device of nobody any more: %v", err)
		}
		if !credential.IsRootDevice(account, "arn:aws:iam::111111111111:mfa/root-account-mfa-device") || credential.IsRootDevice(other, "arn:aws:iam::111111111111:mfa/root-account-mfa-device") {
			t.Error("IsRootDevice")
		}
	})
}

func TestDeviceTags(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		a := w.device(t, "phone")
		has := func(want ...tag.Tag) {
			t.Helper()
			if got, err := w.DeviceTags(ctx, account, a.serial); err != nil || !slices.Equal(got, want) {
				t.Errorf("%v %v, want %v", got, err, want)
			}
		}
		has()
		if err := w.TagDevice(ctx, account, a.serial, []tag.Tag{{Key: "b", Value: "1"}, {Key: "A", Value: ""}}); err != nil {
			t.Fatal(err)
		}
		has(tag.Tag{Key: "A"}, tag.Tag{Key: "b", Value: "1"})
		if err := w.TagDevice(ctx, account, a.serial, []tag.Tag{{Key: "B", Value: "2"}}); err != nil {
			t.Fatal(err)
		}
		has(tag.Tag{Key: "A"}, tag.Tag{Key: "B", Value: "2"})
		if err := w.UntagDevice(ctx, account, a.serial, []string{"a", "unknown"}); err != nil {
			t.Fatal(err)
		}
		has(tag.Tag{Key: "B", Value: "2"})
		var many []tag.Tag
		for i := range 49 {
			many = append(many, tag.Tag{Key: fmt.Sprint(i)})
		}
		if err := w.TagDevice(ctx, account, a.serial, many); err != nil {
			t.Fatal(err)
		}
		refused(t, w.TagDevice(ctx, account, a.serial, []tag.Tag{{Key: "50"}}), errs.EntityLimit, "Cannot exceed quota for TagsPerMFADevice: 50")
		if err := w.TagDevice(ctx, account, a.serial, []tag.Tag{{Key: "0", Value: "again"}}); err != nil {
			t.Errorf("a key that is there: %v", err)
		}
		refused(t, w.TagDevice(ctx, account, a.serial, []tag.Tag{{Key: "AWS:x"}}), errs.InvalidInput, "Tag keys that begin with aws: are reserved for AWS; choose another one.")
		none := "VirtualMFADevice with serial number " + a.serial + " doesn't exist."
		_, err := w.DeviceTags(ctx, other, a.serial)
		refused(t, err, errs.EntityNotFound, none)
		refused(t, w.TagDevice(ctx, other, a.serial, nil), errs.EntityNotFound, none)
		refused(t, w.UntagDevice(ctx, other, a.serial, nil), errs.EntityNotFound, none)
	})
}

func TestCheckCode(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		a := w.device(t, "phone").enable(t, bay)
		check := func(code string) error { return w.CheckCode(ctx, account, bayID, a.serial, code) }
		refused(t, w.CheckCode(ctx, account, bayID, "", a.code(0)), errs.AccessDenied, halfCode)
		refused(t, w.CheckCode(ctx, account, bayID, a.serial, ""), errs.AccessDenied, halfCode)
		refused(t, w.CheckCode(ctx, account, eveID, a.serial, a.code(0)), errs.AccessDenied, foreign)
		refused(t, w.CheckCode(ctx, account, "", a.serial, a.code(0)), errs.AccessDenied, foreign)
		refused(t, w.CheckCode(ctx, other, bayID, a.serial, a.code(0)), errs.AccessDenied, foreign)
		refused(t, w.CheckCode(ctx, account, bayID, a.serial+"x", a.code(0)), errs.AccessDenied, foreign)
		refused(t, check(a.code(-2)), errs.AccessDenied, badCode)
		refused(t, check(a.code(2)), errs.AccessDenied, badCode)
		refused(t, check(a.code(0)+"0"), errs.AccessDenied, badCode)
		if err := check(a.code(-1)); err != nil {
			t.Errorf("a step late: %v", err)
		}
		refused(t, check(a.code(-1)), errs.AccessDenied, badCode) // once only
		if err := check(a.code(0)); err != nil {
			t.Error(err)
		}
		if err := check(a.code(1)); err != nil {
			t.Errorf("a step early: %v", err)
		}
		refused(t, check(a.code(0)), errs.AccessDenied, badCode)
		w.clk.Advance(totp.Period)
		refused(t, check(a.code(0)), errs.AccessDenied, badCode) // taken a step early
		w.clk.Advance(totp.Period)
		if err := check(a.code(0)); err != nil {
			t.Error(err)
		}

		r := w.device(t, "roots").enable(t, root)
		for _, id := range []string{"", string(account)} {
			w.clk.Advance(totp.Period)
			if err := w.CheckCode(ctx, account, id, r.serial, r.code(0)); err != nil {
				t.Errorf("root as %q: %v", id, err)
			}
		}
		// A device that nobody has is nobody's.
		if err := w.DeactivateDevice(ctx, account, bay, a.serial); err != nil {
			t.Fatal(err)
		}
		w.clk.Advance(5 * totp.Period)
		refused(t, check(a.code(0)), errs.AccessDenied, foreign)
		refused(t, w.CheckCode(ctx, account, "", a.serial, a.code(0)), errs.AccessDenied, foreign)
	})
}

// Of many calls with one code, on two nodes, one is let in.
func TestCodeIsTakenOnce(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		a := w.device(t, "phone").enable(t, bay)
		nodes := []*credential.Service{w.Service, credential.New(w.principals)}
		results := make(chan error, 8)
		for i := range cap(results) {
			go func() { results <- nodes[i%2].CheckCode(ctx, account, bayID, a.serial, a.code(0)) }()
		}
		in := 0
		for range cap(results) {
			if err := <-results; err == nil {
				in++
			} else if !errs.Is(err, errs.AccessDenied) {
				t.Error(err)
			}
		}
		if in != 1 {
			t.Errorf("%d were let in", in)
		}
	})
}

func TestGuessing(t *testing.T) {
	w := open(t, sqldbtest.SQLite(t))
	a, b := w.device(t, "phone").enable(t, bay), w.device(t, "other").enable(t, bay)
	check := func(a *app, code string) error {
		return w.CheckCode(t.Context(), account, bayID, a.serial, code)
	}
	for range 9 {
		refused(t, check(a, a.wrong()), errs.AccessDenied, badCode)
	}
	w.clk.Advance(totp.Period)
	if err := check(a, a.code(0)); err != nil { // which forgives the nine
		t.Fatal(err)
	}
	for range 10 {
		refused(t, check(a, a.wrong()), errs.AccessDenied, badCode)
	}
	w.clk.Advance(totp.Period)
	refused(t, check(a, a.code(0)), errs.AccessDenied, resting) // the right code as well
	if err := check(b, b.code(0)); err != nil {
		t.Errorf("another device: %v", err)
	}
	w.clk.Advance(totp.Period)
	refused(t, check(a, a.wrong()), errs.AccessDenied, badCode)
	refused(t, check(a, a.code(0)), errs.AccessDenied, resting) // one try a minute from now on
	w.clk.Advance(time.Minute)
	if err := check(a, a.code(0)); err != nil {
		t.Errorf("after a minute: %v", err)
	}
	for range 10 {
		refused(t, check(a, a.wrong()), errs.AccessDenied, badCode)
	}
	w.clk.Advance(5 * time.Minute)
	for range 10 {
		refused(t, check(a, a.wrong()), errs.AccessDenied, badCode)
	}
}

func TestResync(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		for i, skew := range []int64{7, -7, 118, -118} {
			w.clk.Advance(3 * time.Hour)
			a := w.device(t, fmt.Sprintf("phone%d", i)).enable(t, bay)
			w.clk.Advance(3 * time.Hour)
			a.skew = skew
			refused(t, w.CheckCode(ctx, account, bayID, a.serial, a.code(0)), errs.AccessDenied, badCode)
			refused(t, w.ResyncDevice(ctx, account, bay, a.serial, a.code(0), a.code(0)), errs.AuthenticationCode, badPair)
			first, second := a.code(0), a.code(1)
			w.clk.Advance(totp.Period)
			if err := w.ResyncDevice(ctx, account, bay, a.serial, first, second); err != nil {
				t.Fatalf("by %d steps: %v", skew, err)
			}
			refused(t, w.ResyncDevice(ctx, account, bay, a.serial, first, second), errs.AuthenticationCode, badPair)
			refused(t, w.CheckCode(ctx, account, bayID, a.serial, second), errs.AccessDenied, badCode)
			w.clk.Advance(10 * totp.Period)
			for _, steps := range []int64{-1, 0, 1} {
				if err := w.CheckCode(ctx, account, bayID, a.serial, a.code(steps)); err != nil {
					t.Errorf("by %d steps, %d later: %v", skew, steps, err)
				}
			}
			a.skew = 0
			w.clk.Advance(3 * time.Hour)
			refused(t, w.CheckCode(ctx, account, bayID, a.serial, a.code(0)), errs.AccessDenied, badCode)
			if err := w.DeactivateDevice(ctx, account, bay, a.serial); err != nil {
				t.Fatal(err)
			}
		}
		a := w.device(t, "far").enable(t, bay)
		for _, skew := range []int64{125, -125} {
			w.clk.Advance(24 * time.Hour)
			a.skew = skew
			refused(t, w.ResyncDevice(ctx, account, bay, a.serial, a.code(0), a.code(1)), errs.AuthenticationCode, badPair)
		}
		refused(t, w.ResyncDevice(ctx, account, bay, "nothing", "1", "2"), errs.EntityNotFound, "VirtualMFADevice with serial number nothing doesn't exist.")
	})
}

// A seed that cannot be opened is our fault, not a wrong code.
func TestDamagedSeed(t *testing.T) {
	w := open(t, sqldbtest.SQLite(t))
	a := w.device(t, "phone").enable(t, bay)
	w.exec(t, `UPDATE iam_mfa_device SET seed = $1`, []byte("damaged"))
	if err := w.CheckCode(t.Context(), account, bayID, a.serial, a.code(0)); errs.CodeOf(err) != errs.Internal {
		t.Errorf("got %v", err)
	}
	if err := w.ResyncDevice(t.Context(), account, bay, a.serial, a.code(0), a.code(1)); errs.CodeOf(err) != errs.Internal {
		t.Errorf("got %v", err)
	}
}
