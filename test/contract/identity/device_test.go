package identity

import (
	"crypto/hmac"
	"crypto/sha1" // as RFC 6238 has it
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// device is a virtual MFA device with what an authenticator application knows.
type device struct{ serial, seed string }

// device makes a device and gives it to a user, by the codes of this half minute
// and of the one before.
func (c *caller) device(t *testing.T, user string) device {
	t.Helper()
	made := must(c.iam.CreateVirtualMFADevice(t.Context(), &iam.CreateVirtualMFADeviceInput{VirtualMFADeviceName: aws.String(unique("device"))}))(t).VirtualMFADevice
	d := device{*made.SerialNumber, string(made.Base32StringSeed)}
	now := time.Now()
	must(c.iam.EnableMFADevice(t.Context(), &iam.EnableMFADeviceInput{
		UserName: &user, SerialNumber: &d.serial, AuthenticationCode1: aws.String(d.codeAt(t, now.Add(-step))), AuthenticationCode2: aws.String(d.codeAt(t, now)),
	}))(t)
	return d
}

// step is how long a code is shown.
const step = 30 * time.Second

// code is the device's code so many steps from now.
func (d device) code(t *testing.T, ahead int) string {
	t.Helper()
	return d.codeAt(t, time.Now().Add(time.Duration(ahead)*step))
}

// codeAt is the code at a time (RFC 6238).
func (d device) codeAt(t *testing.T, at time.Time) string {
	t.Helper()
	seed := must(base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(d.seed))(t)
	m := hmac.New(sha1.New, seed)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/int64(step/time.Second))))
	sum := m.Sum(nil)
	offset := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[offset:])&0x7fffffff)%1_000_000)
}
