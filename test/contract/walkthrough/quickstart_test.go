package walkthrough

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/test/contract/harness"
)

// quickStart is "Quick start: Publishing to Amazon ECR Public using the AWS CLI" of the
// ECR Public user guide (2021), command by command, as it is printed but for this:
// registry_alias is the account's own, the file of catalog data is written by the shell
// (the guide's $(cat ...) is none's to expand in a file), containers have no network here,
// so the build says --network=none, nobody opens a browser, and the last pull has the
// address of the repository (the guide's has one segment too many).
const quickStart = `
touch Dockerfile
cat > Dockerfile <<'END'
FROM public.ecr.aws/amazonlinux/amazonlinux:latest

# Install dependencies
RUN yum update -y && \
    yum install -y httpd

# Install apache and write hello world message
RUN echo 'Hello World!' > /var/www/html/index.html

# Configure apache
RUN echo 'mkdir -p /var/run/httpd' >> /root/run_apache.sh && \
  echo 'mkdir -p /var/lock/httpd' >> /root/run_apache.sh && \
  echo '/usr/sbin/httpd -D FOREGROUND' >> /root/run_apache.sh && \
  chmod 755 /root/run_apache.sh

EXPOSE 80

CMD /root/run_apache.sh
END
docker build --network=none -t hello-world .
docker images --filter reference=hello-world

aws ecr-public get-login-password --region us-east-1 | docker login --username AWS --password-stdin public.ecr.aws

cat > repositorycatalogdata.json <<END
{
  "description": "This is a test repo for an Amazon ECR tutorial.",
  "architectures": [
    "x86"
  ],
  "operatingSystems": [
    "Linux"
  ],
  "logoImageBlob": "$(cat myrepoimage.png |base64 -w 0)",
  "aboutText": "This repository is used as a tutorial only.",
  "usageText": "This repository is not for public use."
}
END
aws ecr-public create-repository \
     --repository-name ecr-tutorial \
     --catalog-data file://repositorycatalogdata.json \
     --region us-east-1

registry_alias="$(aws ecr-public describe-registries --region us-east-1 --query 'registries[0].aliases[?defaultRegistryAlias].name' --output text)"
docker images
docker tag hello-world:latest public.ecr.aws/$registry_alias/ecr-tutorial
docker push public.ecr.aws/$registry_alias/ecr-tutorial

docker rmi public.ecr.aws/$registry_alias/ecr-tutorial
docker pull public.ecr.aws/$registry_alias/ecr-tutorial:latest
echo "alias=$registry_alias"
`

// cleanUp is the rest of it: steps 6 and 7.
const cleanUp = `
aws ecr-public batch-delete-image \
      --repository-name ecr-tutorial \
      --image-ids imageTag=latest \
      --region us-east-1
aws ecr-public delete-repository \
      --repository-name ecr-tutorial \
      --force \
      --region us-east-1
`

// TestPublicQuickStart does what the guide of ECR Public begins with, under AWS's own
// names, with docker and the AWS CLI as they are.
func TestPublicQuickStart(t *testing.T) {
	const region = "us-east-1"
	names := name.Hosts{Domain: "amazonaws.com", PublicDomain: "ecr.aws"}.CertificateNames([]name.Region{region})
	certificate := harness.NewCertificate(t, names...)
	inside := harness.NewNamespace(t, true)
	entries := make([]string, len(names))
	for i, n := range names {
		entries[i] = strings.Replace(n, "*", "000000000000", 1)
	}
	inside.Hosts(t, net.IPv4(127, 0, 0, 1), entries...)
	s := harness.Start(t, harness.Options{
		Listen: "127.0.0.1:443", Namespace: inside, TLS: certificate, Args: []string{"--domain", "amazonaws.com", "--public-domain", "ecr.aws"},
	})
	b := harness.NewBox(t, "bash", "aws", "docker", "dockerd", "crane", "curl").With(
		"AWS_ACCESS_KEY_ID="+s.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.SecretAccessKey, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region,
		"AWS_CA_BUNDLE="+certificate.Path, "SSL_CERT_FILE="+certificate.Path, "CURL_CA_BUNDLE="+certificate.Path)
	b.Namespace = inside
	harness.StartDocker(t, b)
	publishBase(t, s, b)
	b.Write("myrepoimage.png", picture(t))

	out := b.Script(quickStart)
	t.Logf("the quick start printed:\n%s", out)
	for _, want := range []string{
		"Successfully tagged hello-world:latest", "Login Succeeded", `"repositoryArn": "arn:aws:ecr-public::000000000000:repository/ecr-tutorial"`,
		`"logoUrl": "https://gallery.ecr.aws/logo/`, `"aboutText": "This repository is used as a tutorial only."`, "Pushed",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the quick start does not show %s", want)
		}
	}
	alias := regexp.MustCompile(`(?m)^alias=([a-z][a-z0-9]{7})$`).FindStringSubmatch(out)
	pushed := regexp.MustCompile(`(?m)^latest: digest: (sha256:[0-9a-f]{64}) size`).FindStringSubmatch(out)
	pulled := regexp.MustCompile(`(?m)^Digest: (sha256:[0-9a-f]{64})$`).FindAllStringSubmatch(out, -1)
	if alias == nil || pushed == nil || len(pulled) != 2 || pulled[1][1] != pushed[1] {
		t.Fatalf("alias %v, pushed %v, pulled %v", alias, pushed, pulled)
	}

	// Step 5: "View your repository on the Amazon ECR Public Gallery." The account's
	// primary alias is the one of the base image.
	page := b.Run("curl", "--silent", "--show-error", "--fail", "https://gallery.ecr.aws/"+alias[1]+"/ecr-tutorial")
	for _, want := range []string{"This repository is used as a tutorial only.", "docker pull public.ecr.aws/amazonlinux/ecr-tutorial:latest"} {
		if !strings.Contains(page, want) {
			t.Errorf("the gallery's page does not show %s:\n%s", want, page)
		}
	}

	// Who has logged out pulls as anybody does.
	out = b.Script("docker logout public.ecr.aws\ndocker rmi public.ecr.aws/" + alias[1] + "/ecr-tutorial\ndocker pull public.ecr.aws/" + alias[1] + "/ecr-tutorial:latest")
	if !strings.Contains(out, "Digest: "+pushed[1]) {
		t.Errorf("the anonymous pull printed:\n%s", out)
	}
	// And pushes nothing.
	b.Refused("denied", "docker", "push", "public.ecr.aws/"+alias[1]+"/ecr-tutorial")

	out = b.Script(cleanUp)
	for _, want := range []string{`"imageTag": "latest"`, `"failures": []`, `"repositoryName": "ecr-tutorial"`} {
		if !strings.Contains(out, want) {
			t.Errorf("cleaning up does not show %s:\n%s", want, out)
		}
	}
	s.MustFsck(t)
}

// publishBase publishes the image that the guide builds on, under the alias that it has
// there: a shell, and programs by the names of those that the Dockerfile calls.
func publishBase(t *testing.T, s *harness.Server, b *harness.Box) {
	t.Helper()
	shell, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{
		"bin/sh": shell, "bin/chmod": shell, "usr/bin/yum": []byte("#!/bin/sh\necho \"yum $*: nothing to do\"\n"), "var/www/html/.keep": nil, "root/.keep": nil,
	} {
		if err := os.Chmod(b.Write(filepath.Join("base", path), content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	berth := harness.Binary(t)
	b.Script(`tar -C base -cf base.tar .
aws ecr-public create-repository --repository-name amazonlinux --region us-east-1 >/dev/null
` + berth + ` public alias request amazonlinux --data ` + s.Data + `
` + berth + ` public alias approve amazonlinux --force --data ` + s.Data + `
aws ecr-public get-login-password --region us-east-1 | crane auth login --username AWS --password-stdin public.ecr.aws
crane append --oci-empty-base -f base.tar -t public.ecr.aws/amazonlinux/amazonlinux:latest
crane mutate --set-platform linux/amd64 -t public.ecr.aws/amazonlinux/amazonlinux:latest public.ecr.aws/amazonlinux/amazonlinux:latest
crane auth logout public.ecr.aws`)
}

// picture is a logo.
func picture(t *testing.T) []byte {
	t.Helper()
	p := image.NewNRGBA(image.Rect(0, 0, 96, 96))
	for i := range 96 * 96 {
		p.Set(i%96, i/96, color.NRGBA{R: uint8(i % 96 * 2), G: uint8(i / 96 * 2), B: 160, A: 255})
	}
	var out bytes.Buffer
	if err := png.Encode(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
