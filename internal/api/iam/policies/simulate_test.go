package policies_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	repo  = "arn:aws:ecr:us-east-1:111111111111:repository/app"
	there = "arn:aws:ecr:us-east-1:222222222222:repository/app"
	annIs = "arn:aws:iam::111111111111:user/ann"
)

func statements(all ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(all, ",") + `]}`
}

func statement(effect, action, resource string, more ...string) string {
	s := fmt.Sprintf(`{"Effect":%q,"Action":%q,"Resource":%q`, effect, action, resource)
	for _, m := range more {
		s += "," + m
	}
	return s + "}"
}

// line is a result on one line.
func line(r types.EvaluationResult) string {
	s := fmt.Sprintf("%s %s: %s %s missing %v", *r.EvalActionName, strings.TrimPrefix(*r.EvalResourceName, "arn:aws:"), r.EvalDecision, matched(r.MatchedStatements), r.MissingContextValues)
	if r.PermissionsBoundaryDecisionDetail != nil {
		s += fmt.Sprintf(" boundary %v", r.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary)
	}
	if r.OrganizationsDecisionDetail != nil {
		s += fmt.Sprintf(" organizations %v", r.OrganizationsDecisionDetail.AllowedByOrganizations)
	}
	if r.EvalDecisionDetails != nil {
		s += fmt.Sprintf(" %v", r.EvalDecisionDetails)
	}
	for _, one := range r.ResourceSpecificResults {
		s += fmt.Sprintf(" | %s %s missing %v", one.EvalResourceDecision, matched(one.MatchedStatements), one.MissingContextValues)
		if *one.EvalResourceName != *r.EvalResourceName {
			s += " of " + *one.EvalResourceName
		}
		if one.PermissionsBoundaryDecisionDetail != nil {
			s += fmt.Sprintf(" boundary %v", one.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary)
		}
		if one.EvalDecisionDetails != nil {
			s += fmt.Sprintf(" %v", one.EvalDecisionDetails)
		}
	}
	return s
}

func matched(all []types.Statement) string {
	var names []string
	for _, s := range all {
		name := *s.SourcePolicyId
		switch s.SourcePolicyType {
		case "IAM Policy":
		case "Resource Policy":
			name = "R:" + name
		case "Permissions Boundary Policy":
			name = "B:" + name
		default:
			name = "?" + string(s.SourcePolicyType)
		}
		if s.StartPosition == nil || s.EndPosition == nil {
			name += " nowhere"
		}
		names = append(names, name)
	}
	return fmt.Sprint(names)
}

func entry(key string, kind types.ContextKeyTypeEnum, values ...string) types.ContextEntry {
	return types.ContextEntry{ContextKeyName: &key, ContextKeyType: kind, ContextKeyValues: values}
}

func TestSimulateCustomPolicy(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	allow := statements(statement("Allow", "ecr:*", "*"))
	deny := statements(statement("Deny", "ecr:Delete*", "*"))
	tagged := statements(statement("Allow", "ecr:*", "*", `"Condition":{"StringEquals":{"aws:RequestTag/Team":"a"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"NumericLessThan":{"ecr:Count":"5"},"Bool":{"aws:SecureTransport":"true"},"DateGreaterThan":{"aws:CurrentTime":"2025-01-01T00:00:00Z"},"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`))
	met := []types.ContextEntry{
		entry("aws:requesttag/team", types.ContextKeyTypeEnumString, "a"), entry("AWS:SourceIP", types.ContextKeyTypeEnumIp, "10.1.2.3"),
		entry("ecr:count", types.ContextKeyTypeEnumNumeric, "4"), entry("aws:SecureTransport", types.ContextKeyTypeEnumBoolean, "true"),
		entry("aws:TagKeys", types.ContextKeyTypeEnumStringList, "a", "b"),
	}
	named := func(principal string) *string {
		return new(statements(`{"Effect":"Allow","Action":"ecr:*","Principal":{"AWS":"` + principal + `"}}`))
	}
	for _, c := range []struct {
		what string
		in   iam.SimulateCustomPolicyInput
		want []string
	}{
		{"anything", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow}, ActionNames: []string{"ecr:PutImage", "s3:GetObject"}}, []string{
			"ecr:PutImage *: allowed [PolicyInputList.1] missing []",
			"s3:GetObject *: implicitDeny [] missing []",
		}},
		{"combinations, and a deny alone", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow, deny}, ActionNames: []string{"ecr:PutImage", "ecr:DeleteRepository"}, ResourceArns: []string{repo, repo + "2"}}, []string{
			"ecr:PutImage ecr:us-east-1:111111111111:repository/app: allowed [PolicyInputList.1] missing [] map[] | allowed [PolicyInputList.1] missing []",
			"ecr:PutImage ecr:us-east-1:111111111111:repository/app2: allowed [PolicyInputList.1] missing [] map[] | allowed [PolicyInputList.1] missing []",
			"ecr:DeleteRepository ecr:us-east-1:111111111111:repository/app: explicitDeny [PolicyInputList.2] missing [] map[] | explicitDeny [PolicyInputList.2] missing []",
			"ecr:DeleteRepository ecr:us-east-1:111111111111:repository/app2: explicitDeny [PolicyInputList.2] missing [] map[] | explicitDeny [PolicyInputList.2] missing []",
		}},
		{"without context", iam.SimulateCustomPolicyInput{PolicyInputList: []string{tagged}, ActionNames: []string{"ecr:PutImage"}}, []string{
			"ecr:PutImage *: implicitDeny [] missing [aws:requesttag/team aws:securetransport aws:sourceip aws:tagkeys ecr:count]",
		}},
		{"missing for one resource", iam.SimulateCustomPolicyInput{PolicyInputList: []string{tagged}, ActionNames: []string{"ecr:PutImage"}, ResourceArns: []string{repo}, ContextEntries: met[1:]}, []string{
			"ecr:PutImage ecr:us-east-1:111111111111:repository/app: implicitDeny [] missing [] map[] | implicitDeny [] missing [aws:requesttag/team]",
		}},
		{"with context", iam.SimulateCustomPolicyInput{PolicyInputList: []string{tagged}, ActionNames: []string{"ecr:PutImage"}, ContextEntries: met}, []string{
			"ecr:PutImage *: allowed [PolicyInputList.1] missing []",
		}},
		{"an earlier time", iam.SimulateCustomPolicyInput{PolicyInputList: []string{tagged}, ActionNames: []string{"ecr:PutImage"}, ContextEntries: append(slices.Clone(met), entry("aws:CurrentTime", types.ContextKeyTypeEnumDate, "2024-01-01T00:00:00Z"))}, []string{
			"ecr:PutImage *: implicitDeny [] missing []",
		}},
		{"within a boundary", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow}, PermissionsBoundaryPolicyInputList: []string{statements(statement("Allow", "ecr:Get*", "*"))}, ActionNames: []string{"ecr:GetImage", "ecr:PutImage"}, ResourceArns: []string{"*"}}, []string{
			"ecr:GetImage *: allowed [PolicyInputList.1] missing [] boundary true",
			"ecr:PutImage *: implicitDeny [] missing [] boundary false",
		}},
		{"a boundary's deny", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow}, PermissionsBoundaryPolicyInputList: []string{deny}, ActionNames: []string{"ecr:DeleteImage"}}, []string{
			"ecr:DeleteImage *: explicitDeny [B:PermissionsBoundaryPolicyInputList.1] missing [] boundary false",
		}},
		{"a resource policy", iam.SimulateCustomPolicyInput{PolicyInputList: []string{deny}, ResourcePolicy: named(annIs), CallerArn: new(annIs), ActionNames: []string{"ecr:PutImage"}, ResourceArns: []string{repo}}, []string{
			"ecr:PutImage ecr:us-east-1:111111111111:repository/app: allowed [R:ResourcePolicy] missing [] map[] | allowed [R:ResourcePolicy] missing []",
		}},
		{"both", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow}, ResourcePolicy: named(annIs), CallerArn: new(annIs), ActionNames: []string{"ecr:PutImage"}}, []string{
			"ecr:PutImage *: allowed [R:ResourcePolicy PolicyInputList.1] missing []",
		}},
		{"another caller", iam.SimulateCustomPolicyInput{PolicyInputList: []string{deny}, ResourcePolicy: named(annIs), CallerArn: new("arn:aws:iam::111111111111:user/bay"), ActionNames: []string{"ecr:PutImage"}}, []string{
			"ecr:PutImage *: implicitDeny [] missing []",
		}},
		{"across accounts", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow}, ResourcePolicy: named(annIs), CallerArn: new(annIs), ActionNames: []string{"ecr:PutImage"}, ResourceArns: []string{there}}, []string{
			"ecr:PutImage ecr:us-east-1:222222222222:repository/app: allowed [R:ResourcePolicy PolicyInputList.1] missing [] map[IAM Policy:allowed Resource Policy:allowed] | allowed [R:ResourcePolicy PolicyInputList.1] missing [] map[IAM Policy:allowed Resource Policy:allowed]",
		}},
		{"across accounts, denied here", iam.SimulateCustomPolicyInput{
			PolicyInputList: []string{deny}, PermissionsBoundaryPolicyInputList: []string{statements(statement("Allow", "iam:*", "*"))}, ResourcePolicy: named(annIs), CallerArn: new(annIs),
			ActionNames: []string{"ecr:PutImage"}, ResourceArns: []string{"arn:aws:s3:::bucket"}, ResourceOwner: new("arn:aws:iam::222222222222:root")}, []string{
			"ecr:PutImage s3:::bucket: implicitDeny [] missing [] boundary false map[IAM Policy:implicitDeny Permissions Boundary Policy:implicitDeny Resource Policy:allowed] | implicitDeny [R:ResourcePolicy] missing [] boundary false map[IAM Policy:implicitDeny Permissions Boundary Policy:implicitDeny Resource Policy:allowed]",
		}},
		{"across accounts, without their policy", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow}, ActionNames: []string{"ecr:PutImage"}, ResourceOwner: new("222222222222")}, []string{
			"ecr:PutImage *: implicitDeny [] missing [] map[IAM Policy:allowed Resource Policy:implicitDeny]",
		}},
		{"across accounts, allowed and denied here", iam.SimulateCustomPolicyInput{PolicyInputList: []string{allow, deny}, ResourcePolicy: named(annIs), CallerArn: new(annIs), ActionNames: []string{"ecr:DeleteImage"}, ResourceOwner: new("222222222222")}, []string{
			"ecr:DeleteImage *: explicitDeny [PolicyInputList.2] missing [] map[IAM Policy:explicitDeny Resource Policy:allowed]",
		}},
		{"the owner's account", iam.SimulateCustomPolicyInput{CallerArn: new(annIs), ActionNames: []string{"ecr:PutImage"}, ResourceArns: []string{there, repo, "arn:aws:s3:::bucket"}, PolicyInputList: []string{
			statements(statement("Deny", "ecr:*", "*", `"Condition":{"StringNotEquals":{"aws:ResourceAccount":"${aws:PrincipalAccount}"}}`))}}, []string{
			"ecr:PutImage ecr:us-east-1:222222222222:repository/app: explicitDeny [PolicyInputList.1] missing [] map[IAM Policy:explicitDeny Resource Policy:implicitDeny] | explicitDeny [PolicyInputList.1] missing [] map[IAM Policy:explicitDeny Resource Policy:implicitDeny]",
			"ecr:PutImage ecr:us-east-1:111111111111:repository/app: implicitDeny [] missing [] map[] | implicitDeny [] missing []",
			"ecr:PutImage s3:::bucket: implicitDeny [] missing [] map[] | implicitDeny [] missing []",
		}},
		{"AWS's own resources", iam.SimulateCustomPolicyInput{PolicyInputList: []string{statements(statement("Allow", "iam:*", "*"))}, ActionNames: []string{"iam:GetPolicy"}, ResourceArns: []string{admin}}, []string{
			"iam:GetPolicy iam::aws:policy/AdministratorAccess: allowed [PolicyInputList.1] missing [] map[] | allowed [PolicyInputList.1] missing []",
		}},
		{"a trust policy", iam.SimulateCustomPolicyInput{PolicyInputList: []string{statements(statement("Allow", "*", "*"))}, CallerArn: new("arn:aws:iam::111111111111:user/bay"),
			ResourcePolicy: new(trust), ActionNames: []string{"sts:AssumeRole"}, ResourceArns: []string{"arn:aws:iam::111111111111:role/ci"}}, []string{
			"sts:AssumeRole iam::111111111111:role/ci: implicitDeny [] missing [] map[] | implicitDeny [] missing []",
		}},
		{"keys of the caller and the resource", iam.SimulateCustomPolicyInput{CallerArn: new(annIs), ActionNames: []string{"ecr:PutImage"}, ResourceArns: []string{repo}, PolicyInputList: []string{
			statements(statement("Allow", "ecr:*", "*", `"Condition":{"StringEquals":{"aws:username":"ann","aws:PrincipalArn":"`+annIs+`","aws:PrincipalAccount":"111111111111","aws:ResourceAccount":"${aws:PrincipalAccount}","aws:userid":"x"}}`))}}, []string{
			"ecr:PutImage ecr:us-east-1:111111111111:repository/app: implicitDeny [] missing [] map[] | implicitDeny [] missing [aws:userid]",
		}},
	} {
		out, err := w.SimulateCustomPolicy(ctx, &c.in)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		var got []string
		for _, r := range out.EvaluationResults {
			got = append(got, line(r))
		}
		if !slices.Equal(got, c.want) || out.IsTruncated {
			t.Errorf("%s:\n%s\n%s", c.what, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	if got := w.needs(); !strings.HasPrefix(got, "iam:SimulateCustomPolicy *\n") {
		t.Error(got)
	}
}

func TestSimulationPages(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	in := &iam.SimulateCustomPolicyInput{PolicyInputList: []string{document}, ActionNames: []string{"a:b", "ecr:c", "d:e"}, ResourceArns: []string{repo, "*"}, MaxItems: new(int32(4))}
	var got []string
	pages := iam.NewSimulateCustomPolicyPaginator(w, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		ok(t, err)
		got = append(got, fmt.Sprint(len(page.EvaluationResults)))
		for _, r := range page.EvaluationResults {
			got = append(got, *r.EvalActionName)
		}
	}
	if strings.Join(got, " ") != "4 a:b a:b ecr:c ecr:c 2 d:e d:e" {
		t.Error(got)
	}
	for _, marker := range []string{"%%", "eA==", "LTE="} { // no base64, no number, -1
		in.Marker = &marker
		_, err := w.SimulateCustomPolicy(ctx, in)
		refused(t, marker, err, "ValidationError", "Invalid Marker.")
	}
	in.Marker = new("OTk=") // 99
	beyond, err := w.SimulateCustomPolicy(ctx, in)
	ok(t, err)
	if beyond.EvaluationResults == nil || len(beyond.EvaluationResults) != 0 || beyond.IsTruncated {
		t.Errorf("%+v", beyond)
	}
}

func TestSimulationRefusals(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	for _, c := range []struct {
		change func(*iam.SimulateCustomPolicyInput)
		text   string
	}{
		{func(in *iam.SimulateCustomPolicyInput) { in.PolicyInputList = []string{document, "{}"} }, "The policy PolicyInputList.2 is not valid: Syntax errors in policy."},
		{func(in *iam.SimulateCustomPolicyInput) { in.PermissionsBoundaryPolicyInputList = []string{"{}"} }, "The policy PermissionsBoundaryPolicyInputList.1 is not valid: Syntax errors in policy."},
		{func(in *iam.SimulateCustomPolicyInput) {
			in.PermissionsBoundaryPolicyInputList = []string{document, document}
		}, "Only one permissions boundary policy can be given."},
		{func(in *iam.SimulateCustomPolicyInput) { in.ResourcePolicy = new(document) }, "CallerArn is required with ResourcePolicy, to have a value for the policy's Principal elements."},
		{func(in *iam.SimulateCustomPolicyInput) { in.ResourcePolicy, in.CallerArn = new(document), new(annIs) }, "The policy ResourcePolicy is not valid: Missing required field Principal"},
		{func(in *iam.SimulateCustomPolicyInput) { in.CallerArn = new("arn:aws:iam::111111111111:role/ci") }, "The caller ARN arn:aws:iam::111111111111:role/ci is not valid: only IAM users can be simulated as callers."},
		{func(in *iam.SimulateCustomPolicyInput) { in.CallerArn = new("ann") }, "The caller ARN ann is not valid: only IAM users can be simulated as callers."},
		{func(in *iam.SimulateCustomPolicyInput) { in.ResourceOwner = new("arn:aws:iam::1:root") }, "The resource owner arn:aws:iam::1:root is not valid: it has to be the ARN of an account, as arn:aws:iam::111122223333:root."},
		{func(in *iam.SimulateCustomPolicyInput) { in.ActionNames = []string{"ecr:*"} }, "The action ecr:* is not valid: it has to be one action with its service, as ecr:PutImage, without wildcards."},
		{func(in *iam.SimulateCustomPolicyInput) { in.ActionNames = []string{"PutImage"} }, "The action PutImage is not valid: it has to be one action with its service, as ecr:PutImage, without wildcards."},
		{func(in *iam.SimulateCustomPolicyInput) { in.ActionNames = []string{} }, "At least one action is needed."},
		{func(in *iam.SimulateCustomPolicyInput) { in.ResourceArns = []string{"app"} }, "The resource app is not valid: it has to be an ARN, or *."},
		{func(in *iam.SimulateCustomPolicyInput) {
			in.ContextEntries = []types.ContextEntry{{ContextKeyValues: []string{"a"}}}
		}, "Each context entry needs a ContextKeyName."},
	} {
		in := iam.SimulateCustomPolicyInput{PolicyInputList: []string{document}, ActionNames: []string{"ecr:PutImage"}}
		c.change(&in)
		_, err := w.SimulateCustomPolicy(ctx, &in)
		refused(t, c.text, err, "InvalidInput", c.text)
	}
}

func TestSimulatePrincipalPolicy(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		w.push(t)
		ann := w.entity(t, entity.User, "/", "ann", entity.Tag{Key: "Team", Value: "a"})
		devs, ci := w.entity(t, entity.Group, "/g/", "devs"), w.entity(t, entity.Role, "/r/", "ci", entity.Tag{Key: "Team", Value: "b"})
		ok(t, w.entities.AddUser(ctx, account, "devs", "ann"))
		ok(t, w.entities.PutInline(ctx, account, entity.User, "ann", "own", statements(statement("Allow", "ecr:PutImage", "*", `"Condition":{"StringEquals":{"aws:PrincipalTag/Team":"a","aws:username":"ann","aws:userid":"`+ann.ID+`"}}`))))
		ok(t, w.entities.PutInline(ctx, account, entity.Group, "devs", "get", statements(statement("Allow", "ecr:GetAuthorizationToken", "*"))))
		w.attach(t, devs, readOnly)
		w.attach(t, ci, push)
		ok(t, w.entities.SetBoundary(ctx, account, entity.Role, "ci", readOnly))
		const groupARN, roleARN = "arn:aws:iam::111111111111:group/g/devs", "arn:aws:iam::111111111111:role/r/ci"
		w.needs()
		for _, c := range []struct {
			what string
			in   iam.SimulatePrincipalPolicyInput
			want []string
		}{
			{"a user", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(annIs), ActionNames: []string{"ecr:PutImage", "ecr:GetAuthorizationToken", "ecr:DeleteRepository"}}, []string{
				"ecr:PutImage *: allowed [user_ann_own] missing []",
				"ecr:GetAuthorizationToken *: allowed [group_devs_get AmazonEC2ContainerRegistryReadOnly] missing []",
				"ecr:DeleteRepository *: implicitDeny [] missing []",
			}},
			{"with one more policy", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(annIs), ActionNames: []string{"ecr:DeleteRepository"}, PolicyInputList: []string{document}}, []string{
				"ecr:DeleteRepository *: allowed [PolicyInputList.1] missing []",
			}},
			{"in another's name", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(annIs), CallerArn: new("arn:aws:iam::111111111111:user/bay"), ActionNames: []string{"ecr:PutImage"}}, []string{
				"ecr:PutImage *: implicitDeny [] missing [aws:principaltag/team aws:userid]",
			}},
			{"other tags", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(annIs), ActionNames: []string{"ecr:PutImage"}, ContextEntries: []types.ContextEntry{entry("aws:PrincipalTag/Team", types.ContextKeyTypeEnumString, "b")}}, []string{
				"ecr:PutImage *: implicitDeny [] missing []",
			}},
			{"a group alone", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(groupARN), ActionNames: []string{"ecr:PutImage", "ecr:BatchGetImage"}, ResourceArns: []string{repo}}, []string{
				"ecr:PutImage ecr:us-east-1:111111111111:repository/app: implicitDeny [] missing [] map[] | implicitDeny [] missing []",
				"ecr:BatchGetImage ecr:us-east-1:111111111111:repository/app: allowed [AmazonEC2ContainerRegistryReadOnly] missing [] map[] | allowed [AmazonEC2ContainerRegistryReadOnly] missing []",
			}},
			{"a role in its boundary", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(roleARN), ActionNames: []string{"ecr:PutImage", "ecr:BatchGetImage"}}, []string{
				"ecr:PutImage *: implicitDeny [] missing [] boundary false",
				"ecr:BatchGetImage *: allowed [Push] missing [] boundary true",
			}},
			{"a role in another boundary", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(roleARN), ActionNames: []string{"ecr:PutImage"}, PermissionsBoundaryPolicyInputList: []string{document}}, []string{
				"ecr:PutImage *: allowed [Push] missing [] boundary true",
			}},
			{"a resource policy with the user as its caller", iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(annIs), ActionNames: []string{"ecr:DeleteRepository"}, ResourceArns: []string{repo},
				ResourcePolicy: new(statements(`{"Effect":"Allow","Action":"ecr:*","Principal":{"AWS":"` + ann.ID + `"}}`))}, []string{
				"ecr:DeleteRepository ecr:us-east-1:111111111111:repository/app: allowed [R:ResourcePolicy] missing [] map[] | allowed [R:ResourcePolicy] missing []",
			}},
		} {
			out, err := w.SimulatePrincipalPolicy(ctx, &c.in)
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				continue
			}
			var got []string
			for _, r := range out.EvaluationResults {
				got = append(got, line(r))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s:\n%s\n%s", c.what, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		}
		asked := strings.Split(w.needs(), "\n")
		if asked[0] != "iam:SimulatePrincipalPolicy "+annIs+" [aws:resourcetag/team:[a] iam:resourcetag/team:[a]]" || asked[4] != "iam:SimulatePrincipalPolicy "+groupARN {
			t.Error(asked)
		}
		for arn, want := range map[string]string{
			"arn:aws:iam::111111111111:user/nobody": "NoSuchEntity: The user with name nobody cannot be found.",
			"arn:aws:iam::111111111111:user/x/ann":  "NoSuchEntity: The user with name ann cannot be found.", // another path
			"arn:aws:iam::111111111111:role/ci":     "NoSuchEntity: The role with name ci cannot be found.",
			"arn:aws:iam::111111111111:root":        "InvalidInput: Invalid Entity Arn: arn:aws:iam::111111111111:root does not clearly define entity type and name.",
			"arn:aws:iam::222222222222:user/ann":    "AccessDenied: no",
		} {
			code, text, _ := strings.Cut(want, ": ")
			_, err := w.SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &arn, ActionNames: []string{"ecr:PutImage"}})
			refused(t, arn, err, code, text)
		}
		_, err := w.SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: new(roleARN), ActionNames: []string{"ecr:PutImage"}, ResourcePolicy: new(document)})
		refused(t, "a resource policy for a role", err, "InvalidInput", "CallerArn is required with ResourcePolicy, to have a value for the policy's Principal elements.")
	})
}

func TestContextKeys(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	first := statements(statement("Allow", "ecr:*", "arn:aws:ecr:*:*:repository/${aws:username}/*", `"Condition":{"Bool":{"aws:SecureTransport":"true"}}`))
	second := statements(statement("Allow", "ecr:*", "*", `"Condition":{"Bool":{"AWS:securetransport":"true"},"IpAddress":{"aws:SourceIp":"::1"}}`))
	custom, err := w.GetContextKeysForCustomPolicy(ctx, &iam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{first, second, trust}})
	ok(t, err)
	if got := fmt.Sprint(custom.ContextKeyNames); got != "[aws:SecureTransport aws:username aws:SourceIp]" {
		t.Error(got)
	}
	_, err = w.GetContextKeysForCustomPolicy(ctx, &iam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{"{}"}})
	refused(t, "no policy", err, "InvalidInput", "The policy PolicyInputList.1 is not valid: Syntax errors in policy.")
	none, err := w.GetContextKeysForCustomPolicy(ctx, &iam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{document}})
	ok(t, err)
	if none.ContextKeyNames == nil || len(none.ContextKeyNames) != 0 {
		t.Errorf("%+v", none)
	}
	if got := w.needs(); !strings.HasPrefix(got, "iam:GetContextKeysForCustomPolicy *\n") {
		t.Error(got)
	}
	w.entity(t, entity.User, "/", "ann")
	w.entity(t, entity.Group, "/", "devs")
	ok(t, w.entities.AddUser(ctx, account, "devs", "ann"))
	ok(t, w.entities.PutInline(ctx, account, entity.Group, "devs", "own", first))
	keys, err := w.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: new(annIs), PolicyInputList: []string{second}})
	ok(t, err)
	if got := fmt.Sprint(keys.ContextKeyNames); got != "[aws:SecureTransport aws:username aws:SourceIp]" {
		t.Error(got)
	}
	if got := w.needs(); got != "iam:GetContextKeysForPrincipalPolicy "+annIs {
		t.Error(got)
	}
	_, err = w.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: new(annIs), PolicyInputList: []string{"{}"}})
	refused(t, "no policy", err, "InvalidInput", "The policy PolicyInputList.1 is not valid: Syntax errors in policy.")
	_, err = w.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: new("arn:aws:iam::111111111111:role/no")})
	refused(t, "no role", err, "NoSuchEntity", "The role with name no cannot be found.")
}
