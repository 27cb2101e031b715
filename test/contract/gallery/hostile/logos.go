package hostile

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math/rand/v2"
)

// Marker stands in all that must vanish from a logo: a taken logo whose served bytes
// hold it has been handed through.
const Marker = `<script>alert("from a logo")</script>`

// LogoBytes is the most that a logo may have: 500 KB, of 1,024 bytes as ECR Public's
// PutRepositoryCatalogData takes them.
const LogoBytes = 512_000

// Logo is a file given as a logo.
type Logo struct {
	// Name says what is wrong with it, or nothing is.
	Name string
	Body []byte
	Fate Fate
	// Marked logos hold [Marker] or a compressed archive with it, which must not be
	// served.
	Marked bool
}

// Logos makes all of them, the same ones each time, in about a second; together they
// are a few megabytes.
func Logos() ([]Logo, error) {
	m := &maker{}
	small := m.png(picture(60, 60))
	photo := m.jpeg(picture(120, 90))
	noise := m.png(noise(400, 400))
	text := func(n int) []byte {
		return chunk("tEXt", append([]byte("Comment\x00"), bytes.Repeat([]byte("a"), n-20)...))
	} // n bytes in all
	all := []Logo{
		{Name: "png 60x60", Body: small},
		{Name: "png 2048x2048", Body: m.png(image.NewGray(image.Rect(0, 0, 2048, 2048)))},
		{Name: "png 60x2048", Body: m.png(image.NewGray(image.Rect(0, 0, 60, 2048)))},
		{Name: "png with transparency", Body: m.png(image.NewNRGBA(image.Rect(0, 0, 64, 64)))},
		{Name: "png of 16 bits", Body: m.png(image.NewRGBA64(image.Rect(0, 0, 64, 64)))},
		{Name: "png of noise, as large as may be", Body: after(noise, text(LogoBytes-len(noise)))},
		{Name: "jpeg", Body: photo},
		{Name: "jpeg, grey", Body: m.jpeg(image.NewGray(image.Rect(0, 0, 64, 64)))},
		{Name: "jpeg with EXIF", Body: segment(photo, 0xE1, "Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00"+Marker), Marked: true},
		{Name: "jpeg with a comment", Body: segment(photo, 0xFE, "*/=0;"+Marker+"/*"), Marked: true},
		{Name: "png with a text", Body: after(small, chunk("tEXt", []byte("Comment\x00"+Marker))), Marked: true},

		{Name: "png one byte too large", Body: after(noise, text(LogoBytes+1-len(noise))), Fate: Refused},
		{Name: "png 59x59", Body: m.png(picture(59, 59)), Fate: Refused},
		{Name: "png 59x60", Body: m.png(picture(59, 60)), Fate: Refused},
		{Name: "png 60x59", Body: m.png(picture(60, 59)), Fate: Refused},
		{Name: "png 2049x2049", Body: m.png(image.NewGray(image.Rect(0, 0, 2049, 2049))), Fate: Refused},
		{Name: "png 60x2049", Body: m.png(image.NewGray(image.Rect(0, 0, 60, 2049))), Fate: Refused},
		{Name: "jpeg 2049x60", Body: m.jpeg(image.NewGray(image.Rect(0, 0, 2049, 60))), Fate: Refused},
		{Name: "png 1x1", Body: m.png(picture(1, 1)), Fate: Refused},
		{Name: "png that says 20,000x20,000", Body: m.bomb(20_000, 20_000, 0), Fate: Refused},
		{Name: "png that is 20,000x20,000", Body: m.bomb(20_000, 20_000, 20_000*2_501), Fate: Refused},
		{Name: "png that says 2,147,483,647 each way", Body: m.bomb(1<<31-1, 1<<31-1, 0), Fate: Refused},
		{Name: "png 0x0", Body: m.bomb(0, 0, 0), Fate: Refused},
		{Name: "png with fewer pixels than it says", Body: m.bomb(1024, 1024, 100), Fate: Refused},
		{Name: "png cut off", Body: noise[:len(noise)/2], Fate: Refused},
		{Name: "png, the header only", Body: small[:33], Fate: Refused},
		{Name: "png with a wrong checksum", Body: flipped(small, 30), Fate: Refused},
		{Name: "jpeg cut off", Body: photo[:len(photo)/2], Fate: Refused},
		{Name: "gif", Body: m.gif(1), Fate: Refused},
		{Name: "gif, animated", Body: m.gif(3), Fate: Refused},
		{Name: "svg", Body: []byte(`<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100" onload="alert(1)">` + Marker + `</svg>`), Fate: Refused, Marked: true},
		{Name: "svg that calls itself xml", Body: []byte(`<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&x;` + Marker + `</svg>`), Fate: Refused, Marked: true},
		{Name: "webp", Body: []byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x3f\xc0\x0f\x00\x07\x10\xfd\x8f\xfe\x07\x22\xa2\xff\x01\x00"), Fate: Refused},
		{Name: "html", Body: []byte("<!doctype html>" + Marker), Fate: Refused, Marked: true},
		{Name: "html after a signature of png", Body: []byte("\x89PNG\r\n\x1a\n" + Marker), Fate: Refused, Marked: true},
		{Name: "png after a signature of gif", Body: append([]byte("GIF89a"), small...), Fate: Refused},
		{Name: "nothing", Body: []byte{}, Fate: Refused},

		{Name: "png and html", Body: append(bytes.Clone(small), "\n<!doctype html>"+Marker...), Fate: Harmless, Marked: true},
		{Name: "png and zip", Body: append(bytes.Clone(small), m.zip()...), Fate: Harmless, Marked: true},
		{Name: "jpeg and html", Body: append(bytes.Clone(photo), Marker...), Fate: Harmless, Marked: true},
		{Name: "png, animated", Body: after(small, append(chunk("acTL", []byte("\x00\x00\x00\x02\x00\x00\x00\x00")), chunk("fdAT", []byte("\x00\x00\x00\x01"+Marker))...)), Fate: Harmless, Marked: true},
		{Name: "png with a colour profile that is a bomb", Body: after(small, chunk("iCCP", append([]byte("p\x00\x00"), m.zeros(50<<20)...))), Fate: Harmless},
		{Name: "png with more pixels than it says", Body: m.bomb(64, 64, 50<<20), Fate: Harmless},
	}
	return all, m.err
}

// maker keeps the first error.
type maker struct{ err error }

func (m *maker) made(b *bytes.Buffer, err error) []byte {
	if m.err == nil {
		m.err = err
	}
	return b.Bytes()
}

func (m *maker) png(img image.Image) []byte {
	var b bytes.Buffer
	return m.made(&b, png.Encode(&b, img))
}

func (m *maker) jpeg(img image.Image) []byte {
	var b bytes.Buffer
	return m.made(&b, jpeg.Encode(&b, img, nil))
}

// gif has some pictures, one after the other.
func (m *maker) gif(frames int) []byte {
	all := &gif.GIF{}
	for range frames {
		all.Image = append(all.Image, image.NewPaletted(image.Rect(0, 0, 64, 64), color.Palette{color.Black, color.White}))
		all.Delay = append(all.Delay, 10)
	}
	var b bytes.Buffer
	return m.made(&b, gif.EncodeAll(&b, all))
}

// zip has one file, stored as it is.
func (m *maker) zip() []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateHeader(&zip.FileHeader{Name: "index.html", Method: zip.Store})
	if err == nil {
		_, err = io.WriteString(f, Marker)
	}
	if err == nil {
		err = w.Close()
	}
	return m.made(&b, err)
}

// zeros compresses n zero bytes.
func (m *maker) zeros(n int) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	block := make([]byte, 1<<20)
	var err error
	for left := n; left > 0 && err == nil; left -= len(block) {
		_, err = w.Write(block[:min(left, len(block))])
	}
	if err == nil {
		err = w.Close()
	}
	return m.made(&b, err)
}

// bomb is a black PNG of one bit a pixel that says its size, with n bytes of pixels.
func (m *maker) bomb(width, height uint32, n int) []byte {
	header := binary.BigEndian.AppendUint32(nil, width)
	header = binary.BigEndian.AppendUint32(header, height)
	header = append(header, 1, 0, 0, 0, 0) // bits, grey, and the only ways to compress, filter and order
	body := append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", header)...)
	body = append(body, chunk("IDAT", m.zeros(n))...)
	return append(body, chunk("IEND", nil)...)
}

// chunk is a piece of a PNG: length, kind, data, checksum; 12 bytes more than the data.
func chunk(kind string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, kind...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// after puts chunks after the header of a PNG, which has 33 bytes.
func after(picture, chunks []byte) []byte {
	return append(append(bytes.Clone(picture[:33]), chunks...), picture[33:]...)
}

// segment puts a segment to the beginning of a JPEG.
func segment(picture []byte, kind byte, text string) []byte {
	b := append(bytes.Clone(picture[:2]), 0xFF, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)+2))
	return append(append(b, text...), picture[2:]...)
}

// flipped has one byte changed.
func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0xFF
	return b
}

// picture is a small picture that is not of one colour.
func picture(width, height int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.Set(x, y, color.NRGBA{R: uint8(x * 4), G: uint8(y * 4), B: 128, A: 255})
		}
	}
	return img
}

// noise cannot be compressed: three bytes a pixel remain.
func noise(width, height int) image.Image {
	random := rand.New(rand.NewPCG(1, 2))
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			n := random.Uint32()
			img.Set(x, y, color.NRGBA{R: uint8(n), G: uint8(n >> 8), B: uint8(n >> 16), A: 255})
		}
	}
	return img
}
