package credentials

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
)

// deviceOwner is ownerOf for operations that name a device: the device that
// AWS's console makes for the root user is the root user's, whatever name is
// given with it.
func deviceOwner(c *aws.Call, userName, serial *string) (credential.Owner, error) {
	if c.Principal.IsRoot() && credential.IsRootDevice(c.Principal.Account, *serial) {
		userName = nil
	}
	return ownerOf(c, userName)
}

// onDeviceUser is onUser for deviceOwner: the actions' resource is the user, not
// the device (service authorization reference).
func onDeviceUser[I any](a *api, action string, of func(*I) (userName, serial *string)) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		userName, serial := of(in)
		owner, err := deviceOwner(c, userName, serial)
		if err != nil {
			return nil, err
		}
		return a.userNeed(c, action, owner)
	}
}

// onDevice is for operations on a device, with what their input says about tags.
func onDevice[I any](a *api, action string, of func(*I) (serial *string, keys map[string][]string)) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		serial, keys := of(in)
		arn, err := name.ParseARN(*serial)
		if err != nil { // a hardware device's, which Berth has none of
			arn = iamARN(c, "mfa/"+*serial)
		}
		tags, err := a.Credentials.DeviceTags(context.Background(), c.Principal.Account, *serial)
		if err != nil && !errs.Is(err, errs.EntityNotFound) {
			return nil, err
		}
		return []authz.Need{{Action: action, Resource: arn, Context: tagged(keys, tags)}}, nil
	}
}

func devicePath(in *shapes.CreateVirtualMFADeviceInput) string { return or(in.Path, "/") }

func (a *api) createVirtualMFADeviceNeeds(c *aws.Call, in *shapes.CreateVirtualMFADeviceInput) ([]authz.Need, error) {
	arn := iamARN(c, "mfa"+devicePath(in)+*in.VirtualMFADeviceName)
	needs := []authz.Need{{Action: "iam:CreateVirtualMFADevice", Resource: arn, Context: requested(in.Tags)}}
	if len(in.Tags) > 0 {
		needs = append(needs, authz.Need{Action: "iam:TagMFADevice", Resource: arn, Context: requested(in.Tags)})
	}
	return needs, nil
}

func (a *api) createVirtualMFADevice(ctx context.Context, c *aws.Call, in *shapes.CreateVirtualMFADeviceInput) (*shapes.CreateVirtualMFADeviceOutput, error) {
	d, err := a.Credentials.CreateDevice(ctx, c.Principal.Account, devicePath(in), *in.VirtualMFADeviceName, tagsOf(in.Tags))
	if err != nil {
		return nil, err
	}
	out := &shapes.VirtualMFADevice{SerialNumber: new(d.Serial), Base32StringSeed: []byte(d.Seed), QRCodePNG: d.QRCode}
	if len(d.Tags) > 0 {
		out.Tags = tagShapes(d.Tags)
	}
	return &shapes.CreateVirtualMFADeviceOutput{VirtualMFADevice: out}, nil
}

func (a *api) enableMFADevice(ctx context.Context, c *aws.Call, in *shapes.EnableMFADeviceInput) (*shapes.EnableMFADeviceOutput, error) {
	owner, err := deviceOwner(c, in.UserName, in.SerialNumber)
	if err != nil {
		return nil, err
	}
	return &shapes.EnableMFADeviceOutput{}, a.Credentials.EnableDevice(ctx, c.Principal.Account, owner, *in.SerialNumber, *in.AuthenticationCode1, *in.AuthenticationCode2)
}

func (a *api) deactivateMFADevice(ctx context.Context, c *aws.Call, in *shapes.DeactivateMFADeviceInput) (*shapes.DeactivateMFADeviceOutput, error) {
	owner, err := deviceOwner(c, in.UserName, in.SerialNumber)
	if err != nil {
		return nil, err
	}
	return &shapes.DeactivateMFADeviceOutput{}, a.Credentials.DeactivateDevice(ctx, c.Principal.Account, owner, *in.SerialNumber)
}

func (a *api) resyncMFADevice(ctx context.Context, c *aws.Call, in *shapes.ResyncMFADeviceInput) (*shapes.ResyncMFADeviceOutput, error) {
	owner, err := deviceOwner(c, in.UserName, in.SerialNumber)
	if err != nil {
		return nil, err
	}
	return &shapes.ResyncMFADeviceOutput{}, a.Credentials.ResyncDevice(ctx, c.Principal.Account, owner, *in.SerialNumber, *in.AuthenticationCode1, *in.AuthenticationCode2)
}

func (a *api) deleteVirtualMFADevice(ctx context.Context, c *aws.Call, in *shapes.DeleteVirtualMFADeviceInput) (*shapes.DeleteVirtualMFADeviceOutput, error) {
	return &shapes.DeleteVirtualMFADeviceOutput{}, a.Credentials.DeleteDevice(ctx, c.Principal.Account, *in.SerialNumber)
}

func deviceKey(d credential.Device) string { return d.Serial }

func (a *api) listMFADevices(ctx context.Context, c *aws.Call, in *shapes.ListMFADevicesInput) (*shapes.ListMFADevicesOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	after, limit, err := page(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	devices, err := a.Credentials.UserDevices(ctx, c.Principal.Account, owner, after, limit+1)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListMFADevicesOutput{MFADevices: []shapes.MFADevice{}}
	devices, out.IsTruncated, out.Marker = cut(devices, limit, deviceKey)
	for _, d := range devices {
		out.MFADevices = append(out.MFADevices, shapes.MFADevice{
			UserName: shownName(c, d.User.Name), SerialNumber: new(d.Serial), EnableDate: shape.At(d.EnabledAt),
		})
	}
	return out, nil
}

func (a *api) listVirtualMFADevices(ctx context.Context, c *aws.Call, in *shapes.ListVirtualMFADevicesInput) (*shapes.ListVirtualMFADevicesOutput, error) {
	after, limit, err := page(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	which := credential.AnyDevice
	switch or(in.AssignmentStatus, shapes.AssignmentStatusTypeAny) {
	case shapes.AssignmentStatusTypeAssigned:
		which = credential.AssignedDevice
	case shapes.AssignmentStatusTypeUnassigned:
		which = credential.UnassignedDevice
	case shapes.AssignmentStatusTypeAny:
	}
	devices, err := a.Credentials.Devices(ctx, c.Principal.Account, which, after, limit+1)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListVirtualMFADevicesOutput{VirtualMFADevices: []shapes.VirtualMFADevice{}}
	devices, out.IsTruncated, out.Marker = cut(devices, limit, deviceKey)
	for _, d := range devices {
		one := shapes.VirtualMFADevice{SerialNumber: new(d.Serial), EnableDate: shape.AtNonZero(d.EnabledAt)}
		if d.User != nil {
			one.User = deviceUserShape(c, *d.User)
		}
		out.VirtualMFADevices = append(out.VirtualMFADevices, one)
	}
	return out, nil
}

// deviceUserShape is who has a device. Of the root user AWS gives neither name
// nor path.
func deviceUserShape(c *aws.Call, u credential.User) *shapes.User {
	out := &shapes.User{Arn: new(u.ARN(c.Principal.Account)), CreateDate: shape.AtNonZero(u.CreatedAt)}
	if u.IsRoot() {
		out.UserId = new(string(c.Principal.Account))
		return out
	}
	out.UserId, out.UserName, out.Path = new(u.ID), new(u.Name), new(u.Path)
	return out
}

func (a *api) tagMFADevice(ctx context.Context, c *aws.Call, in *shapes.TagMFADeviceInput) (*shapes.TagMFADeviceOutput, error) {
	return &shapes.TagMFADeviceOutput{}, a.Credentials.TagDevice(ctx, c.Principal.Account, *in.SerialNumber, tagsOf(in.Tags))
}

func (a *api) untagMFADevice(ctx context.Context, c *aws.Call, in *shapes.UntagMFADeviceInput) (*shapes.UntagMFADeviceOutput, error) {
	return &shapes.UntagMFADeviceOutput{}, a.Credentials.UntagDevice(ctx, c.Principal.Account, *in.SerialNumber, in.TagKeys)
}

func (a *api) listMFADeviceTags(ctx context.Context, c *aws.Call, in *shapes.ListMFADeviceTagsInput) (*shapes.ListMFADeviceTagsOutput, error) {
	tags, err := a.Credentials.DeviceTags(ctx, c.Principal.Account, *in.SerialNumber)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListMFADeviceTagsOutput{}
	out.Tags, out.IsTruncated, out.Marker, err = tagPage(tags, in.Marker, in.MaxItems)
	return out, err
}
