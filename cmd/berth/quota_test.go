package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/app/quotaadmin"
)

func TestQuotaCommands(t *testing.T) {
	s := start(t)
	const account = "000000000000"
	list := s.berth("quota", "list")
	for _, line := range []string{
		`NAME +VALUE +DEFAULT +UNIT +SET +TITLE`,
		`images-per-repository +100000 +100000 +count +- +Images per repository`,
		`max-layer-bytes +52000MiB +52000MiB +bytes +- +Maximum layer size`,
		`storage-bytes +unlimited +unlimited +bytes +- +Storage per account and region`,
		`rate:PutImage +unlimited +unlimited +requests/s +- +Rate of PutImage requests`,
	} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(list) {
			t.Errorf("no line like %q in\n%s", line, list)
		}
	}

	like(t, s.berth("quota", "set", "storage-bytes", "10GiB"), `storage-bytes of account 000000000000: 10GiB`)
	like(t, s.berth("quota", "set", "rate:PutImage", "5"), `rate:PutImage of account 000000000000: 5`)
	like(t, s.berth("quota", "set", "rate:DescribeImages", "7", "--account", account), `rate:DescribeImages of account 000000000000: 7`)
	like(t, s.berth("quota", "set", "repository-storage-bytes", "1536MiB", "--repository", "team/app"),
		`repository-storage-bytes of repository team/app of account 000000000000: 1536MiB`)
	list = s.berth("quota", "list", "--repository", "team/app")
	for _, line := range []string{
		`storage-bytes +10GiB +unlimited +bytes +account +.*`, `repository-storage-bytes +1536MiB +unlimited +bytes +repository +.*`,
		`rate:PutImage +5 +unlimited +requests/s +account +.*`, `rate:DescribeImages +7 +unlimited +requests/s +account +.*`,
	} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(list) {
			t.Errorf("no line like %q in\n%s", line, list)
		}
	}
	var out quotaadmin.List
	if err := json.Unmarshal([]byte(s.berth("quota", "list", "--json")), &out); err != nil || out.Account != account || len(out.Quotas) < 20 {
		t.Errorf("as JSON: %+v, %v", out, err)
	}

	like(t, s.berth("quota", "unset", "storage-bytes"), `storage-bytes of account 000000000000: unlimited, the server's value`)
	like(t, s.berth("quota", "unset", "rate:DescribeImages"), `rate:DescribeImages of account 000000000000: unlimited, the server's value`)
	if list = s.berth("quota", "list"); strings.Contains(list, "DescribeImages") {
		t.Errorf("a rate that is not set is listed:\n%s", list)
	}

	s.refused("storage-bytes is not set there", "quota", "unset", "storage-bytes")
	s.refused(`There is no quota "storage"`, "quota", "set", "storage", "1")
	s.refused(`The ECR API has no operation "PutImages"`, "quota", "set", "rate:PutImages", "1")
	s.refused(`"10GB" is no value of storage-bytes: write a number of bytes, such as 5242880 or 5MiB`, "quota", "set", "storage-bytes", "10GB")
	s.refused("is set for an account, not for a repository", "quota", "set", "tags-per-image", "5", "--repository", "team/app")
	s.refused(`"Team" is no name of a repository`, "quota", "list", "--repository", "Team")
	s.refused("333333333333", "quota", "set", "tags-per-image", "5", "--account", "333333333333")
	s.refused(`"33" is no account`, "quota", "list", "--account", "33")
}
