package entities_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/entities"
	"github.com/berth-registry/berth/internal/domain/authz"
)

// said is a need as one line.
func said(n authz.Need) string {
	resource := "*"
	if !n.Resource.IsZero() {
		resource = strings.TrimPrefix(n.Resource.String(), arn)
	}
	line := n.Action + " " + resource
	var keys []string
	for k, v := range n.Context {
		keys = append(keys, k+"="+strings.Join(v, ","))
	}
	slices.Sort(keys)
	return strings.Join(append([]string{line}, keys...), " ")
}

// Every row asks for the permission that AWS's service authorization reference
// names, on the resource that it names, with the keys that policies test.
func TestNeeds(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	bound := w.managed("bound")
	got(w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("Ann"), Path: sdk.String("/u/"), PermissionsBoundary: &bound, Tags: []types.Tag{tag("Team", "red")}}))(t)
	got(w.CreateRole(ctx, &iam.CreateRoleInput{RoleName: sdk.String("Role"), Path: sdk.String("/r/"), PermissionsBoundary: &bound, Tags: []types.Tag{tag("Team", "red")}, AssumeRolePolicyDocument: sdk.String(trust)}))(t)
	got(w.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: sdk.String("Group"), Path: sdk.String("/g/")}))(t)
	linked := got(w.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: sdk.String("ecr.amazonaws.com")}))(t)
	task := "task/aws-service-role/ecr.amazonaws.com/AWSServiceRoleForECRTemplate/00000000-0000-8000-8000-000000000000"
	if *linked.Role.RoleName != "AWSServiceRoleForECRTemplate" {
		t.Fatal(*linked.Role.RoleName)
	}
	const (
		tagged  = " aws:resourcetag/team=red"
		tagged2 = " iam:resourcetag/team=red"
		limits  = " iam:permissionsboundary=" + arn + "policy/bound"
		user    = `{"UserName":"ann","PolicyName":"p","PolicyArn":"` + arn + `policy/p","PermissionsBoundary":"` + arn + `policy/other","Tags":[{"Key":"Env","Value":"dev"},{"Key":"b","Value":""}],"TagKeys":["Env","b"]}`
		new1    = `{"UserName":"new","RoleName":"new","GroupName":"new","Path":"/n/","PermissionsBoundary":"` + arn + `policy/bound","Tags":[{"Key":"Env","Value":"dev"}]}`
		plain   = `{"UserName":"new","RoleName":"new","GroupName":"new"}`
		service = " iam:awsservicename=ecr.amazonaws.com"
		made    = " aws:requesttag/env=dev aws:tagkeys=Env iam:permissionsboundary=" + arn + "policy/bound"
	)
	role := strings.ReplaceAll(user, `"UserName":"ann"`, `"RoleName":"role"`)
	group := `{"GroupName":"group","UserName":"ann","PolicyName":"p","PolicyArn":"` + arn + `policy/p"}`
	onUser := func(more string) string { return " user/u/Ann" + more }
	onRole := func(more string) string { return " role/r/Role" + more }
	type row struct{ op, in, want string }
	rows := []row{
		{"CreateUser", new1, "iam:CreateUser user/n/new" + made + " | iam:TagUser user/n/new" + made},
		{"CreateUser", plain, "iam:CreateUser user/new"},
		{"CreateRole", new1, "iam:CreateRole role/n/new" + made + " | iam:TagRole role/n/new" + made},
		{"CreateRole", plain, "iam:CreateRole role/new"},
		{"CreateGroup", new1, "iam:CreateGroup group/n/new"},
		{"UpdateUser", `{"UserName":"ann","NewUserName":"elm","NewPath":"/e/"}`, "iam:UpdateUser" + onUser(tagged+tagged2) + " | iam:UpdateUser user/e/elm" + tagged + tagged2},
		{"UpdateUser", `{"UserName":"ann"}`, "iam:UpdateUser" + onUser(tagged+tagged2)},
		{"UpdateGroup", `{"GroupName":"group","NewGroupName":"elm"}`, "iam:UpdateGroup group/g/Group | iam:UpdateGroup group/g/elm"},
		{"GetUser", `{}`, "iam:GetUser root"},
		{"GetUser", `{"UserName":"nobody"}`, "iam:GetUser user/nobody"},
		{"DeleteRole", `{"RoleName":"nobody"}`, "iam:DeleteRole role/nobody"},
		{"DeleteServiceLinkedRole", `{"RoleName":"AWSServiceRoleForECRTemplate"}`, "iam:DeleteServiceLinkedRole role/aws-service-role/ecr.amazonaws.com/AWSServiceRoleForECRTemplate" + service},
		{"DeleteServiceLinkedRole", `{"RoleName":"nobody"}`, "iam:DeleteServiceLinkedRole role/nobody"},
		{"CreateServiceLinkedRole", `{"AWSServiceName":"ecr.amazonaws.com"}`, "iam:CreateServiceLinkedRole role/aws-service-role/ecr.amazonaws.com/AWSServiceRoleForECRTemplate" + service},
		{"CreateServiceLinkedRole", `{"AWSServiceName":"s3.amazonaws.com"}`, "iam:CreateServiceLinkedRole role/aws-service-role/s3.amazonaws.com/AWSServiceRoleFor iam:awsservicename=s3.amazonaws.com"},
		{"GetServiceLinkedRoleDeletionStatus", `{"DeletionTaskId":"` + task + `"}`, "iam:GetServiceLinkedRoleDeletionStatus role/aws-service-role/ecr.amazonaws.com/AWSServiceRoleForECRTemplate" + service},
		{"TagUser", user, "iam:TagUser" + onUser(" aws:requesttag/b= aws:requesttag/env=dev"+tagged+" aws:tagkeys=Env,b"+tagged2)},
		{"TagRole", role, "iam:TagRole" + onRole(" aws:requesttag/b= aws:requesttag/env=dev"+tagged+" aws:tagkeys=Env,b"+tagged2)},
		{"UntagUser", user, "iam:UntagUser" + onUser(tagged+" aws:tagkeys=Env,b"+tagged2)},
		{"UntagRole", role, "iam:UntagRole" + onRole(tagged+" aws:tagkeys=Env,b"+tagged2)},
		{"PutUserPermissionsBoundary", user, "iam:PutUserPermissionsBoundary" + onUser(tagged+" iam:permissionsboundary="+arn+"policy/other"+tagged2)},
		{"PutRolePermissionsBoundary", role, "iam:PutRolePermissionsBoundary" + onRole(tagged+" iam:permissionsboundary="+arn+"policy/other"+tagged2)},
		{"DeleteUserPermissionsBoundary", user, "iam:DeleteUserPermissionsBoundary" + onUser(tagged+limits+tagged2)},
		{"DeleteRolePermissionsBoundary", role, "iam:DeleteRolePermissionsBoundary" + onRole(tagged+limits+tagged2)},
	}
	for _, op := range []string{"ListUsers", "ListGroups", "ListRoles"} {
		rows = append(rows, row{op, `{}`, "iam:" + op + " *"})
	}
	for _, op := range []string{"GetUser", "DeleteUser", "ListGroupsForUser", "GetUserPolicy", "ListUserPolicies", "ListAttachedUserPolicies", "ListUserTags"} {
		rows = append(rows, row{op, user, "iam:" + op + onUser(tagged+tagged2)})
	}
	for _, op := range []string{"GetRole", "UpdateRole", "UpdateRoleDescription", "UpdateAssumeRolePolicy", "DeleteRole", "GetRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies", "ListRoleTags"} {
		rows = append(rows, row{op, role, "iam:" + op + onRole(tagged+tagged2)})
	}
	for _, op := range []string{"GetGroup", "DeleteGroup", "AddUserToGroup", "RemoveUserFromGroup", "GetGroupPolicy", "PutGroupPolicy", "DeleteGroupPolicy", "ListGroupPolicies", "ListAttachedGroupPolicies"} {
		rows = append(rows, row{op, group, "iam:" + op + " group/g/Group"})
	}
	const attaching = " iam:policyarn=" + arn + "policy/p"
	for _, verb := range []string{"Attach", "Detach"} {
		rows = append(rows,
			row{verb + "UserPolicy", user, "iam:" + verb + "UserPolicy" + onUser(tagged+limits+attaching+tagged2)},
			row{verb + "RolePolicy", role, "iam:" + verb + "RolePolicy" + onRole(tagged+limits+attaching+tagged2)},
			row{verb + "GroupPolicy", group, "iam:" + verb + "GroupPolicy group/g/Group" + attaching})
	}
	for _, verb := range []string{"Put", "Delete"} {
		rows = append(rows,
			row{verb + "UserPolicy", user, "iam:" + verb + "UserPolicy" + onUser(tagged+limits+tagged2)},
			row{verb + "RolePolicy", role, "iam:" + verb + "RolePolicy" + onRole(tagged+limits+tagged2)})
	}

	table, tried := map[string]aws.Operation{}, map[string]bool{}
	for _, op := range entities.Operations(w.config) {
		table[op.Name] = op
		if reads := strings.HasPrefix(op.Name, "Get") || strings.HasPrefix(op.Name, "List"); op.Mutates == reads {
			t.Errorf("%s: Mutates is %v", op.Name, op.Mutates)
		}
	}
	for _, r := range rows {
		op := table[r.op]
		tried[r.op] = true
		in := op.New()
		if err := json.Unmarshal([]byte(r.in), in); err != nil {
			t.Fatal(err)
		}
		needs, err := op.Needs(&aws.Call{Principal: w.caller}, in)
		if err != nil {
			t.Errorf("%s: %v", r.op, err)
		}
		var lines []string
		for _, n := range needs {
			lines = append(lines, said(n))
		}
		if line := strings.Join(lines, " | "); line != r.want {
			t.Errorf("%s asks for\n%s, want\n%s", r.op, line, r.want)
		}
	}
	for name := range table {
		if !tried[name] {
			t.Errorf("%s: nobody looked at what it needs", name)
		}
	}
	if len(table) != 54 {
		t.Errorf("%d operations", len(table))
	}
}
