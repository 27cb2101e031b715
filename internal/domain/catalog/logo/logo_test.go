package logo_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/catalog/logo"
	"github.com/berth-registry/berth/internal/domain/errs"
)

func pngOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func jpegOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// halves is red above and blue below.
func halves(w, h int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.NRGBA{R: 255, A: 255})
			if y >= h/2 {
				m.Set(x, y, color.NRGBA{B: 255, A: 255})
			}
		}
	}
	return m
}

func gray(w, h int) image.Image { return image.NewGray(image.Rect(0, 0, w, h)) }

// chunk is a part of a PNG.
func chunk(kind string, data []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// insert puts something between the head of a PNG and the rest.
func insert(raw, what []byte) []byte {
	const head = 8 + 25
	return append(append(append([]byte{}, raw[:head]...), what...), raw[head:]...)
}

// segment is a part of a JPEG, behind its beginning.
func segment(raw []byte, marker byte, data []byte) []byte {
	part := binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(data)+2))
	return append(append(append([]byte{}, raw[:2]...), append(part, data...)...), raw[2:]...)
}

// exif says which way up a picture is.
func exif(order binary.AppendByteOrder, orientation uint16) []byte {
	mark := "II"
	if order.String() == binary.BigEndian.String() {
		mark = "MM"
	}
	b := order.AppendUint32(order.AppendUint16([]byte("Exif\x00\x00"+mark), 42), 8)
	b = order.AppendUint16(b, 2)
	for _, tag := range []uint16{0x010f, 0x0112} {
		b = order.AppendUint32(order.AppendUint16(order.AppendUint16(b, tag), 3), 1)
		b = order.AppendUint16(order.AppendUint16(b, orientation), 0)
	}
	return order.AppendUint32(b, 0)
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// read decodes a logo as a browser would.
func read(t testing.TB, l logo.Logo) image.Image {
	t.Helper()
	m, format, err := image.Decode(bytes.NewReader(l.Body))
	if err != nil || "image/"+format != l.MediaType || m.Bounds().Dx() != l.Width || m.Bounds().Dy() != l.Height {
		t.Fatalf("a %s of %dx%d is %s of %v: %v", l.MediaType, l.Width, l.Height, format, m, err)
	}
	return m
}

func TestPictures(t *testing.T) {
	deep := image.NewNRGBA64(image.Rect(0, 0, 60, 60))
	deep.Set(1, 1, color.NRGBA64{R: 0xabcd, G: 0x1234, A: 0x8000})
	opaque := image.NewRGBA64(image.Rect(0, 0, 60, 60))
	for i := range opaque.Pix {
		opaque.Pix[i] = 0xff
	}
	gray16 := image.NewGray16(image.Rect(0, 0, 60, 60))
	gray16.Set(1, 1, color.Gray16{0x7fff})
	palette := image.NewPaletted(image.Rect(0, 0, 60, 60), color.Palette{color.NRGBA{}, color.NRGBA{R: 9, A: 255}})
	palette.SetColorIndex(1, 1, 1)
	for what, raw := range map[string][]byte{
		"smallest PNG":            pngOf(t, gray(60, 60)),
		"a wide one":              pngOf(t, gray(2048, 60)),
		"a narrow one":            pngOf(t, gray(60, 2048)),
		"colours":                 pngOf(t, halves(100, 80)),
		"16 bits":                 pngOf(t, deep),
		"16 bits, opaque":         pngOf(t, opaque),
		"16 bits, gray":           pngOf(t, gray16),
		"palette":                 pngOf(t, palette),
		"interlaced":              file(t, "interlaced.png"),
		"JPEG":                    jpegOf(t, halves(100, 80)),
		"gray JPEG":               jpegOf(t, gray(100, 80)),
		"progressive JPEG":        file(t, "progressive.jpg"),
		"JPEG of four colours":    file(t, "cmyk.jpg"),
		"progressive, in CMYK":    file(t, "cmyk-progressive.jpg"),
		"JPEG with filling bytes": append([]byte{0xff, 0xd8, 0xff}, jpegOf(t, gray(60, 60))[2:]...),
	} {
		l, err := logo.Normalize(raw)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		config, _, err := image.DecodeConfig(bytes.NewReader(raw))
		if err != nil || config.Width != l.Width || config.Height != l.Height {
			t.Errorf("%s: %dx%d became %dx%d, %v", what, config.Width, config.Height, l.Width, l.Height, err)
		}
		before, _, err := image.Decode(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		after := read(t, l)
		for _, at := range []image.Point{{1, 1}, {30, 10}, {30, 50}} {
			if !near(before.At(at.X, at.Y), after.At(at.X, at.Y)) {
				t.Errorf("%s: at %v %v became %v", what, at, before.At(at.X, at.Y), after.At(at.X, at.Y))
			}
		}
		if again, err := logo.Normalize(l.Body); err != nil || len(l.Body) <= logo.MaxBytes && again.MediaType != l.MediaType {
			t.Errorf("%s, once more: %v", what, err)
		}
	}
}

// near says whether two colours look the same.
func near(a, b color.Color) bool {
	ar, ag, ab, aa := a.RGBA()
	br, bg, bb, ba := b.RGBA()
	d := func(x, y uint32) bool { return max(x, y)-min(x, y) < 0x0c00 }
	return d(ar, br) && d(ag, bg) && d(ab, bb) && d(aa, ba)
}

// Nothing of the file is left but the picture.
func TestWhatIsLeftOut(t *testing.T) {
	const evil = "<script>alert(1)</script>"
	plain, photo := pngOf(t, gray(60, 60)), jpegOf(t, gray(60, 60))
	for what, raw := range map[string][]byte{
		"text in a PNG":      insert(plain, chunk("tEXt", []byte("Comment\x00"+evil))),
		"unknown chunk":      insert(plain, chunk("evIl", []byte(evil))),
		"HTML behind a PNG":  append(bytes.Clone(plain), "<html>"+evil...),
		"ZIP behind a PNG":   append(bytes.Clone(plain), "PK\x03\x04"+evil...),
		"animation":          insert(plain, append(chunk("acTL", []byte{0, 0, 0, 2, 0, 0, 0, 0}), chunk("fdAT", append([]byte{0, 0, 0, 1}, evil...))...)),
		"comment in a JPEG":  segment(photo, 0xfe, []byte(evil)),
		"XMP in a JPEG":      segment(photo, 0xe1, []byte("http://ns.adobe.com/xap/1.0/\x00"+evil)),
		"HTML behind a JPEG": append(bytes.Clone(photo), "<html>"+evil...),
	} {
		l, err := logo.Normalize(raw)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		read(t, l)
		if bytes.Contains(l.Body, []byte("script")) || bytes.Contains(l.Body, []byte("PK")) {
			t.Errorf("%s is still there", what)
		}
		if i := bytes.Index(l.Body, []byte("IEND")); l.MediaType == logo.PNG && i != len(l.Body)-8 {
			t.Errorf("%s: bytes behind the end", what)
		}
	}
}

func TestRefusals(t *testing.T) {
	plain, photo := pngOf(t, halves(100, 100)), jpegOf(t, halves(100, 100))
	var anim bytes.Buffer
	if err := gif.Encode(&anim, halves(100, 100), nil); err != nil {
		t.Fatal(err)
	}
	head := func(w, h uint32) []byte { // of a PNG that claims to be that large
		data := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
		return append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(data, 16, 6, 0, 0, 0))...)
	}
	huge := bytes.Clone(photo)
	sof := bytes.Index(huge, []byte{0xff, 0xc0})
	copy(huge[sof+5:], []byte{0xff, 0xff, 0xff, 0xff})
	crc := bytes.Clone(plain)
	crc[len(crc)/2] ^= 1
	noise := image.NewNRGBA(image.Rect(0, 0, 400, 330))
	source := rand.NewChaCha8([32]byte{})
	_, _ = source.Read(noise.Pix)
	for what, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":              {nil, "must be a PNG or a JPEG"},
		"a word":               {[]byte("hello"), "must be a PNG or a JPEG"},
		"SVG":                  {[]byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`), "must be a PNG or a JPEG"},
		"GIF":                  {anim.Bytes(), "must be a PNG or a JPEG"},
		"WEBP":                 {[]byte("RIFF\x24\x00\x00\x00WEBPVP8 "), "must be a PNG or a JPEG"},
		"HTML before a PNG":    {append([]byte("<html>"), plain...), "must be a PNG or a JPEG"},
		"the name of a PNG":    {plain[:8], "cannot be read as the png"},
		"half a PNG":           {plain[:len(plain)/2], "cannot be read as the png"},
		"a PNG without end":    {plain[:len(plain)-12], "cannot be read as the png"},
		"a PNG with an error":  {crc, "cannot be read as the png"},
		"half a JPEG":          {photo[:len(photo)/2], "cannot be read as the jpeg"},
		"a JPEG without end":   {photo[:len(photo)-2], "cannot be read as the jpeg"},
		"a PNG bomb":           {head(65535, 65535), "60 to 2048 pixels"},
		"a JPEG bomb":          {huge, "60 to 2048 pixels"},
		"too narrow":           {pngOf(t, gray(59, 100)), "60 to 2048 pixels"},
		"too low":              {jpegOf(t, gray(100, 59)), "60 to 2048 pixels"},
		"too wide":             {pngOf(t, gray(2049, 100)), "60 to 2048 pixels"},
		"too high":             {pngOf(t, gray(100, 2049)), "60 to 2048 pixels"},
		"too many bytes":       {pngOf(t, noise), "512000 bytes at most"},
		"one byte too many":    {append(bytes.Clone(plain), make([]byte, logo.MaxBytes-len(plain)+1)...), "512000 bytes at most"},
		"a JPEG of many scans": {manyScans(photo, 101), "too many passes"},
	} {
		l, err := logo.Normalize(c.raw)
		if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), "'logoImageBlob'") || !strings.Contains(err.Error(), c.want) || l.Body != nil {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	if _, err := logo.Normalize(append(bytes.Clone(plain), make([]byte, logo.MaxBytes-len(plain))...)); err != nil {
		t.Errorf("as many bytes as can be: %v", err)
	}
}

// manyScans repeats the pass of a JPEG.
func manyScans(photo []byte, n int) []byte {
	at := bytes.Index(photo, []byte{0xff, 0xda})
	scan := photo[at : len(photo)-2]
	out := bytes.Clone(photo[:at])
	for range n {
		out = append(out, scan...)
	}
	return append(out, 0xff, 0xd9)
}

// Pictures that say which way up they are come out that way up.
func TestOrientation(t *testing.T) {
	photo := jpegOf(t, halves(160, 80)) // red above
	red, blue := color.RGBA{R: 255, A: 255}, color.RGBA{B: 255, A: 255}
	for orientation, want := range map[uint16][4]color.Color{ // left above, right above, left below, right below
		0: {red, red, blue, blue}, 1: {red, red, blue, blue}, 2: {red, red, blue, blue}, 9: {red, red, blue, blue},
		3: {blue, blue, red, red}, 4: {blue, blue, red, red},
		5: {red, blue, red, blue}, 8: {red, blue, red, blue},
		6: {blue, red, blue, red}, 7: {blue, red, blue, red},
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			l, err := logo.Normalize(segment(photo, 0xe1, exif(order, orientation)))
			if err != nil {
				t.Fatal(err)
			}
			w, h := 160, 80
			if orientation >= 5 && orientation <= 8 {
				w, h = h, w
			}
			if l.Width != w || l.Height != h {
				t.Errorf("%d: %dx%d", orientation, l.Width, l.Height)
				continue
			}
			m := read(t, l)
			for i, at := range []image.Point{{5, 5}, {w - 5, 5}, {5, h - 5}, {w - 5, h - 5}} {
				if !near(m.At(at.X, at.Y), want[i]) {
					t.Errorf("%d: at %v %v", orientation, at, m.At(at.X, at.Y))
				}
			}
		}
	}
	for what, block := range map[string]string{"cut": "Exif\x00\x00MM", "far": "Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff", "short": "Exif\x00\x00II\x2a\x00\x08\x00\x00\x00\xff\xff\x12\x01"} {
		if l, err := logo.Normalize(segment(photo, 0xe1, []byte(block))); err != nil || l.Width != 160 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	plain, photo := pngOf(f, halves(60, 60)), jpegOf(f, halves(60, 60))
	for _, seed := range [][]byte{
		plain, photo, file(f, "interlaced.png"), file(f, "progressive.jpg"), file(f, "cmyk.jpg"), plain[:50], photo[:200], []byte("GIF89a"),
		segment(photo, 0xe1, exif(binary.BigEndian, 6)), insert(plain, chunk("tEXt", []byte("a\x00b"))), manyScans(photo, 3),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := logo.Normalize(raw)
		if err != nil {
			if !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("%v", err)
			}
			return
		}
		if l.Width < logo.MinSide || l.Height < logo.MinSide || l.Width > logo.MaxSide || l.Height > logo.MaxSide {
			t.Errorf("%dx%d", l.Width, l.Height)
		}
		read(t, l)
	})
}
