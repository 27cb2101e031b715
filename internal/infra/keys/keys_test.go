package keys

import "testing"

func TestARN(t *testing.T) {
	key := Key{ID: "0ace11c4-96d9-4417-92a8-6c413405d159", Account: "123456789012", Region: "cn-north-1"}
	if got, want := key.ARN("aws-cn"), "arn:aws-cn:kms:cn-north-1:123456789012:key/0ace11c4-96d9-4417-92a8-6c413405d159"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := (Key{ID: key.ID}).ARN("aws"); got != "" {
		t.Errorf("the default key has the ARN %s", got)
	}
}
