package jsontree

import "testing"

const repositoryPolicy = `{"Version":"2012-10-17","Statement":[
	{"Sid":"Pull","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:root","arn:aws:iam::444455556666:role/deploy"]},
		"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer","ecr:BatchCheckLayerAvailability"],"Condition":{"StringLike":{"aws:PrincipalTag/team":["blue","red-*"]}}},
	{"Sid":"Push","Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":["ecr:PutImage","ecr:*LayerUpload","ecr:UploadLayerPart"]}]}`

func BenchmarkParse(b *testing.B) {
	b.SetBytes(int64(len(repositoryPolicy)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(repositoryPolicy); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPretty(b *testing.B) {
	n, err := Parse(repositoryPolicy)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if n.Pretty() == "" {
			b.Fatal("nothing")
		}
	}
}
