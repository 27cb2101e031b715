package gallerytest

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/gallery"
	"github.com/berth-registry/berth/internal/domain/name"
)

// publisher makes a publisher; its first alias is the primary one.
func publisher(account, displayName string, verified bool, aliases ...name.Alias) gallery.Publisher {
	return gallery.Publisher{Account: name.AccountID(account), Alias: aliases[0], Aliases: aliases, DisplayName: displayName, Verified: verified}
}

// About is a text with a little of everything.
const About = "# Harbour\n\nA small web server for **static files**. It starts in milliseconds and " +
	"~~needs~~ has no configuration; see [its documentation](https://harbour.example/docs).\n\n" +
	"## Supported tags\n\n| Tag | Base | Size |\n|:--|:--|--:|\n| `2.4`, `latest` | Alpine | 12 MB |\n| `2.4-debian` | Debian | 41 MB |\n\n" +
	"## Features\n\n- [x] HTTP/2\n- [x] TLS with *automatic* certificates\n- [ ] HTTP/3\n\n> Images are rebuilt every night.\n\n" +
	"## Quick start\n\n```sh\ndocker run --rm -p 8080:80 -v $PWD/public:/srv/www:ro public.example.com/harbour/server:2.4 --root /srv/www --listen :80 --log json\n```\n\n" +
	"![build](https://ci.example/badge.png) <b>No script</b> <script>alert(1)</script>\n"

// Sample is a world to look at: verified publishers and others, logos, long and strange names.
func Sample() *World {
	w := &World{Logos: map[string]Logo{"l0g0": {"image/png", picture()}}}
	linux := []string{"Linux"}
	both := []string{"x86-64", "ARM 64"}
	harbour := publisher("111122223333", "Harbour Software", true, "harbour", "h4r8o2r1")
	var tags []gallery.Tag
	tags = append(tags, Tag("latest", 1, 12_400_000, "linux/amd64", "linux/arm64/v8"), Tag("2.4", 1, 12_400_000, "linux/amd64", "linux/arm64/v8"),
		Tag("2.4-debian", 2, 41_900_000, "linux/386", "linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "linux/ppc64le", "linux/riscv64", "linux/s390x"))
	for i := range 120 {
		tags = append(tags, Tag(fmt.Sprintf("2.3.%d", 120-i), 3+i, 11_900_000+int64(i)*4321, "linux/amd64"))
	}
	w.Add(harbour, "server", catalog.Data{Description: "A small, fast web server for static files, with automatic certificates.", About: About, Usage: "Run it:\n\n    docker run server\n", Architectures: both, OperatingSystems: linux, Logo: "l0g0", Set: true}, 48_213_377, tags...)
	w.Add(harbour, "tools/proxy", catalog.Data{Description: "The reverse proxy that goes with the server.", Architectures: both, OperatingSystems: linux, Logo: "l0g0", Set: true}, 1_204_511, Tag("1.0", 0, 9_000_000, "linux/amd64"))
	chart := Tag("0.3.1", 9, 18_211)
	chart.MediaType, chart.ArtifactType = "application/vnd.oci.image.manifest.v1+json", "application/vnd.cncf.helm.config.v1+json"
	w.Add(harbour, "charts/server", catalog.Data{Description: "Helm chart for the server.", Set: true}, 5_020, chart)
	other := publisher("222233334444", "Amazon", false, "k5n6o2s4")
	w.Add(other, "redis-compatible", catalog.Data{Description: "An in-memory store that speaks Redis's protocol. Persistent if you want, clustered if you must, and rather quick on small machines because it does very little. This description is long so that the card has to cut it off at some place, which is what happens here.", Architectures: []string{"x86-64", "ARM", "ARM 64"}, OperatingSystems: linux, Usage: "# Usage\n\nJust run it.", Set: true}, 912_000, Tag("7", 4, 31_000_000, "linux/amd64"))
	w.Add(other, "very/deep/namespace/with-a-really-long-repository-name.that-goes_on-and-on-until-it-has-to-wrap-somewhere/worker", catalog.Data{}, 0, Tag("v1", 40, 250_000_000, "windows/amd64"))
	w.Add(publisher("333344445555", "", false, "lab"), "iis-samples", catalog.Data{Description: "Samples for Windows Server containers.", Architectures: []string{"x86-64"}, OperatingSystems: []string{"Windows"}, Set: true}, 77, Tag("ltsc2022", 90, 2_310_000_000, "windows/amd64"))
	w.Add(publisher("444455556666", "مرحبا بالعالم", true, "rtl-team"), "salam", catalog.Data{Description: "صورة حاوية صغيرة للاختبار مع نص من اليمين إلى اليسار.", About: "# مرحبا\n\nهذا نص `code` مع [رابط](https://example.com).\n", Architectures: both, OperatingSystems: linux, Set: true}, 3_456, Tag("latest", 12, 1_000_000, "linux/amd64"))
	bulk := publisher("555566667777", "", false, "bulk")
	for i := range 60 {
		w.Add(bulk, "image-"+strconv.Itoa(i), catalog.Data{Description: "Image number " + strconv.Itoa(i) + ".", Architectures: []string{"x86-64"}, OperatingSystems: linux, Set: true}, int64(60-i), Tag("latest", i+20, int64(i+1)*1_000_000, "linux/amd64"))
	}
	return w
}

// picture is a logo.
func picture() []byte {
	const side = 96
	img := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			dx, dy := x-side/2, y-side/2
			if d := dx*dx + dy*dy; d < 42*42 && (d > 30*30 || y > side/2) {
				img.Set(x, y, color.RGBA{R: 20, G: 90, B: 160, A: 255})
			}
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img) // a buffer takes everything
	return b.Bytes()
}
