package logo

import (
	"bytes"
	"encoding/binary"
	"image"
)

// segments calls each with the marker and the content of the segments of a JPEG, up to
// its end or where it cannot be followed (ITU-T T.81, annex B). each returns false to stop.
func segments(raw []byte, each func(marker byte, content []byte) bool) {
	for at := 2; at+1 < len(raw); {
		if raw[at] != 0xff { // what is coded, or stray bytes, which decoders skip
			at++
			continue
		}
		marker := raw[at+1]
		switch {
		case marker == 0xff: // filling
			at++
			continue
		case marker == 0, marker == 1, marker >= 0xd0 && marker <= 0xd8: // of the coded data, or without content
			at += 2
			continue
		case marker == 0xd9: // the end
			return
		}
		if at+4 > len(raw) {
			return
		}
		n := int(binary.BigEndian.Uint16(raw[at+2:]))
		end := min(at+2+max(n, 2), len(raw))
		if !each(marker, raw[at+4:max(at+4, end)]) {
			return
		}
		at = max(at+4, end)
	}
}

// scans counts the passes of a JPEG.
func scans(raw []byte) int {
	n := 0
	segments(raw, func(marker byte, _ []byte) bool {
		if marker == 0xda {
			n++
		}
		return n <= maxScans
	})
	return n
}

// orientation is which way up a JPEG is to be shown, 1 to 8 (Exif, tag 0x0112); 1 where it
// does not say.
func orientation(raw []byte) int {
	found := 1
	segments(raw, func(marker byte, content []byte) bool {
		exif, ok := bytes.CutPrefix(content, []byte("Exif\x00\x00"))
		if marker != 0xe1 || !ok {
			return marker != 0xda // it stands before the picture
		}
		found = exifOrientation(exif)
		return false
	})
	return found
}

// exifOrientation reads the orientation of an Exif block, which is a TIFF file.
func exifOrientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 1
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			return 1
		}
		if order.Uint16(entries) == 0x0112 {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}

// upright turns a picture as its orientation asks.
func upright(picture image.Image, orientation int) image.Image {
	if orientation == 1 {
		return picture
	}
	b := picture.Bounds()
	w, h := b.Dx(), b.Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if orientation > 4 {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			tx, ty := x, y
			switch orientation {
			case 2:
				tx = w - 1 - x
			case 3:
				tx, ty = w-1-x, h-1-y
			case 4:
				ty = h - 1 - y
			case 5:
				tx, ty = y, x
			case 6:
				tx, ty = h-1-y, x
			case 7:
				tx, ty = h-1-y, w-1-x
			case 8:
				tx, ty = y, w-1-x
			}
			out.Set(tx, ty, picture.At(b.Min.X+x, b.Min.Y+y))
		}
	}
	return out
}
