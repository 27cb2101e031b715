// Package logo makes logos of repositories harmless: it decodes a picture whole and encodes
// it again, so that nothing of the file that came is served but its colours.
//
// It is pure and keeps nothing. How many are read at once is for its caller to bound
// (domain/catalog), where they are kept as well.
package logo

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// The limits of a logo (ECR Public API model, LogoImageBlob; ECR Public user guide,
// "Repository catalog data").
const (
	MaxBytes = 512_000
	MinSide  = 60 // pixels, of each side
	MaxSide  = 2048
)

// The media types of logos.
const (
	PNG  = "image/png"
	JPEG = "image/jpeg"
)

// Memory is what Normalize takes at most, in bytes, beside the picture that it is given.
// The most is a progressive JPEG of four colours, whose coefficients take 256 bytes for
// each 8x8 pixels and colour.
const Memory = 160 << 20

const (
	// maxBody bounds what is served. A picture can grow by being encoded again, if whoever
	// made it had a better packer or a stranger order of pixels.
	maxBody = 4 * MaxBytes
	// maxScans bounds the passes of a JPEG. Each goes over the whole picture, however few
	// bytes it has; programs make about ten.
	maxScans = 100
	quality  = 90 // of a JPEG
)

// Logo is a picture as it can be served.
type Logo struct {
	MediaType     string // PNG or JPEG
	Body          []byte // up to four times MaxBytes
	Width, Height int    // pixels
}

func refuse(constraint string) error { return errs.Parameter("logoImageBlob", constraint) }

// Normalize reads a picture and makes it a logo. A PNG stays one and loses its depth
// beyond 8 bits, a JPEG stays one. What stands behind the picture, other pictures of an
// animation and what is said about it are dropped, but for the way up of a JPEG.
// errs.InvalidParameter for anything else than a whole PNG or JPEG within the limits.
func Normalize(raw []byte) (Logo, error) {
	if len(raw) > MaxBytes {
		return Logo{}, refuse("The logo must be 512000 bytes at most; make the picture smaller")
	}
	decodeConfig, decode, mediaType := png.DecodeConfig, png.Decode, PNG
	switch {
	case bytes.HasPrefix(raw, []byte("\x89PNG\r\n\x1a\n")):
	case bytes.HasPrefix(raw, []byte("\xff\xd8\xff")):
		decodeConfig, decode, mediaType = jpeg.DecodeConfig, jpeg.Decode, JPEG
	default:
		return Logo{}, refuse("The logo must be a PNG or a JPEG; save the picture as one of these")
	}
	broken := refuse("The logo cannot be read as the " + mediaType[len("image/"):] + " that it begins as; save the picture again")
	config, err := decodeConfig(bytes.NewReader(raw))
	if err != nil {
		return Logo{}, broken
	}
	if min(config.Width, config.Height) < MinSide || max(config.Width, config.Height) > MaxSide {
		return Logo{}, refuse("The logo must be 60 to 2048 pixels wide and high; scale the picture")
	}
	if mediaType == JPEG && scans(raw) > maxScans {
		return Logo{}, refuse("The logo is a JPEG of too many passes; save the picture again")
	}
	picture, err := decode(bytes.NewReader(raw))
	if err != nil {
		return Logo{}, broken
	}
	var body bytes.Buffer
	if mediaType == PNG {
		picture = eightBits(picture)
		err = png.Encode(&body, picture)
	} else {
		picture = upright(picture, orientation(raw))
		err = jpeg.Encode(&body, picture, &jpeg.Options{Quality: quality})
	}
	if err != nil {
		return Logo{}, err
	}
	if body.Len() > maxBody {
		return Logo{}, refuse("The logo has more in it than can be kept; use a picture with fewer pixels or colours")
	}
	return Logo{MediaType: mediaType, Body: body.Bytes(), Width: picture.Bounds().Dx(), Height: picture.Bounds().Dy()}, nil
}

// eightBits drops the depth of a picture beyond 8 bits: of each pair of bytes the second.
func eightBits(picture image.Image) image.Image {
	high := func(pix []byte) []byte {
		out := make([]byte, len(pix)/2)
		for i := range out {
			out[i] = pix[2*i]
		}
		return out
	}
	switch p := picture.(type) {
	case *image.NRGBA64:
		return &image.NRGBA{Pix: high(p.Pix), Stride: p.Stride / 2, Rect: p.Rect}
	case *image.RGBA64:
		return &image.RGBA{Pix: high(p.Pix), Stride: p.Stride / 2, Rect: p.Rect}
	case *image.Gray16:
		return &image.Gray{Pix: high(p.Pix), Stride: p.Stride / 2, Rect: p.Rect}
	}
	return picture
}
