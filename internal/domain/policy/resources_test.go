package policy_test

import (
	"fmt"
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy"
)

func TestResources(t *testing.T) {
	for text, want := range map[string]string{
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"a:b","Resource":"*"}}`:                                                                                                "[*]",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"a:b","Resource":["arn:aws:a:::x","arn:aws:a:::y"]},{"Effect":"Deny","Action":"a:b","NotResource":"arn:aws:a:::z"}]}`: "[arn:aws:a:::x arn:aws:a:::y arn:aws:a:::z]",
	} {
		d, err := policy.Parse(text, policy.Identity)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(d.Resources()); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
