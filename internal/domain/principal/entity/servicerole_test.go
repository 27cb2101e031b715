package entity_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

var services = map[string]string{
	"replication.ecr.amazonaws.com":      "AWSServiceRoleForECRReplication",
	"pullthroughcache.ecr.amazonaws.com": "AWSServiceRoleForECRPullThroughCache",
	"ecr.amazonaws.com":                  "AWSServiceRoleForECRTemplate",
	"inspector2.amazonaws.com":           "AWSServiceRoleForAmazonInspector2",
}

func TestServiceRoles(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for service, roleName := range services {
			if entity.ServiceRoleName(service) != roleName {
				t.Errorf("%s: %s", service, entity.ServiceRoleName(service))
			}
			made, err := w.EnsureServiceRole(ctx, mine, service)
			if err != nil || made.ARN() != "arn:aws:iam::111111111111:role/aws-service-role/"+service+"/"+roleName || made.Role.Service != service {
				t.Fatalf("%+v %v", made, err)
			}
			if again, err := w.EnsureServiceRole(ctx, mine, service); err != nil || again.ID != made.ID || again.Role.Service != service {
				t.Errorf("%+v %v", again, err)
			}
			if got := w.shown(roleName); got != strings.Replace(anyone, "ec2.amazonaws.com", service, 1) {
				t.Errorf("%s", got)
			}
			attached, err := w.Attached(ctx, mine, entity.Role, roleName, "")
			if err != nil || len(attached) != 1 || attached[0].Path != "/aws-service-role/" {
				t.Fatalf("%v %v", attached, err)
			}
			if own, ok := w.p.Managed().Get(attached[0].ARN); !ok || !own.ServiceRole {
				t.Errorf("AWS's policy %s: %v %v", attached[0].ARN, ok, own.ServiceRole)
			}
			if who, err := w.p.IdentityOf(ctx, mine, made.ID); err != nil || who.Service != service || len(who.Policies) != 1 {
				t.Errorf("%+v %v", who, err)
			}
			_, err = w.CreateServiceRole(ctx, mine, service, "")
			w.refused(err, errs.InvalidInput, "Service role name "+roleName+" has been taken in this account, please try a different suffix.")
		}
		_, err := w.EnsureServiceRole(ctx, mine, "s3.amazonaws.com")
		w.refused(err, errs.InvalidInput, "s3.amazonaws.com is not a service that supports service-linked roles.")
		_, err = w.CreateServiceRole(ctx, mine, "s3.amazonaws.com", "")
		w.refused(err, errs.InvalidInput, "s3.amazonaws.com is not a service that supports service-linked roles.")
		if entity.ServiceRoleName("s3.amazonaws.com") != "AWSServiceRoleFor" {
			t.Error(entity.ServiceRoleName("s3.amazonaws.com"))
		}
	})
}

// Only the description and the tags of a service-linked role are its account's.
func TestServiceRolesAreProtected(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		made, err := w.CreateServiceRole(ctx, mine, "ecr.amazonaws.com", "for templates")
		if err != nil || made.Role.Description != "for templates" {
			t.Fatalf("%+v %v", made, err)
		}
		role, arn := made.Name, w.managed(mine, "p")
		attached, err := w.Attached(ctx, mine, entity.Role, role, "")
		if err != nil {
			t.Fatal(err)
		}
		_, maxSession := w.UpdateRole(ctx, mine, role, entity.RoleChange{MaxSession: 2 * time.Hour})
		for what, err := range map[string]error{
			"delete": w.Delete(ctx, mine, entity.Role, role), "attach": w.Attach(ctx, mine, entity.Role, role, arn),
			"detach": w.Detach(ctx, mine, entity.Role, role, attached[0].ARN), "inline": w.PutInline(ctx, mine, entity.Role, role, "p", inline),
			"delete inline": w.DeleteInline(ctx, mine, entity.Role, role, "p"), "boundary": w.SetBoundary(ctx, mine, entity.Role, role, arn),
			"trust": w.SetTrust(ctx, mine, role, anyone), "max session": maxSession, "rename": w.Rename(ctx, mine, entity.Role, role, "x", ""),
		} {
			t.Log(what)
			w.refused(err, errs.EntityUnmodifiable, "Cannot perform the operation on the protected role '"+role+"' - this role is only modifiable by AWS")
		}
		w.ok(w.Tag(ctx, mine, entity.Role, role, []entity.Tag{{Key: "k", Value: "v"}}))
		if _, err := w.UpdateRole(ctx, mine, role, entity.RoleChange{Description: new("other")}); err != nil {
			t.Error(err)
		}
		if got, err := w.Get(ctx, mine, entity.Role, role); err != nil || got.Role.Description != "other" || got.Tags["k"] != "v" {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestDeleteServiceRole(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		const service = "replication.ecr.amazonaws.com"
		first, err := w.EnsureServiceRole(ctx, mine, service)
		if err != nil {
			t.Fatal(err)
		}
		var regions []name.Region
		inUse := func(_ context.Context, account name.AccountID, s string) ([]name.Region, error) {
			if account != mine || s != service {
				t.Errorf("asked for %s of %s", s, account)
			}
			return regions, nil
		}
		status := func(task string) entity.Deletion {
			t.Helper()
			d, err := w.DeletionStatus(ctx, mine, task, inUse)
			if err != nil {
				t.Error(err)
			}
			return d
		}
		regions = []name.Region{"us-east-1", "eu-west-1"}
		task, err := w.DeleteServiceRole(ctx, mine, "awsservicerolefoRECRReplication", inUse)
		if err != nil || !regexp.MustCompile(`^task/aws-service-role/replication\.ecr\.amazonaws\.com/AWSServiceRoleForECRReplication/[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(task) {
			t.Errorf("%s %v", task, err)
		}
		if d := status(task); d.Deleted || len(d.Regions) != 2 || d.Role != first.ARN() ||
			d.Reason != "The role cannot be deleted because "+service+" is configured to use it. Remove the configuration in the regions of the list first." {
			t.Errorf("%+v", d)
		}
		regions = nil
		if d := status(task); d.Deleted || d.Reason != "The role could not be deleted because it was in use. It is no longer; delete it again." {
			t.Errorf("%+v", d)
		}
		if task, err = w.DeleteServiceRole(ctx, mine, first.Name, inUse); err != nil {
			t.Fatal(err)
		}
		if d := status(task); !d.Deleted {
			t.Errorf("%+v", d)
		}
		_, err = w.Get(ctx, mine, entity.Role, first.Name)
		w.refused(err, errs.EntityNotFound, "The role with name "+first.Name+" cannot be found.")
		_, err = w.DeleteServiceRole(ctx, mine, first.Name, inUse)
		w.refused(err, errs.EntityNotFound, "The role with name "+first.Name+" cannot be found.")
		// A role made later is not the one that was deleted.
		if _, err := w.EnsureServiceRole(ctx, mine, service); err != nil {
			t.Fatal(err)
		}
		if d := status(task); !d.Deleted {
			t.Errorf("after another was made: %+v", d)
		}
		if _, err := w.DeleteServiceRole(ctx, mine, first.Name, nil); err != nil { // never in use
			t.Error(err)
		}
		w.must(entity.Create{Kind: entity.Role, Name: "plain"})
		_, err = w.DeleteServiceRole(ctx, mine, "plain", nil)
		w.refused(err, errs.EntityNotFound, "The role with name plain is not a service-linked role and cannot be deleted this way. Use DeleteRole.")
		for _, bad := range []string{"", "x", "task/aws-service-role/s3.amazonaws.com/X/" + task[len(task)-36:], "task/aws-service-role/" + service + "/AWSServiceRoleForECRTemplate/" + task[len(task)-36:], task + "0"} {
			_, err := w.DeletionStatus(ctx, mine, bad, nil)
			w.refused(err, errs.InvalidInput, "Invalid deletion task id: "+bad)
		}
	})
}
