package compat

import (
	"crypto/md5"
	"encoding/binary"
)

// MD5Hex returns parseInt(md5(key).substring(0, 8), 16), as scripts compute
// it: the first 8 digits of the hex form, which are the first 4 bytes. Keys up
// to 256 bytes do not allocate.
func MD5Hex(key string) uint64 {
	sum := sumMD5(key)
	return uint64(binary.BigEndian.Uint32(sum[:]))
}

// MD5Bytes is the other reading of "the first 8": the first 8 bytes of the
// digest, big endian. The two place keys differently; MD5Bytes(k) >> 32 is
// MD5Hex(k). Keys up to 256 bytes do not allocate.
func MD5Bytes(key string) uint64 {
	sum := sumMD5(key)
	return binary.BigEndian.Uint64(sum[:])
}

func sumMD5(key string) [md5.Size]byte {
	var buf [256]byte
	return md5.Sum(append(buf[:0], key...))
}
