package compat

import "strings"

// redisSlots is the number of slots of every Redis Cluster.
const redisSlots = 1 << 14

// CRC16 returns the checksum that Redis Cluster places keys by: CRC-16/XMODEM,
// with polynomial 0x1021 and initial value 0. CRC16("123456789") is 0x31c3.
func CRC16(b []byte) uint16 { return crc16(b) }

func crc16[S string | []byte](b S) (crc uint16) {
	for i := range len(b) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^b[i]]
	}
	return crc
}

// crcTable holds the checksum of each single byte.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc >> 15
			crc = crc<<1 ^ carry*0x1021
		}
		table[i] = crc
	}
	return table
}()

// Tag returns the part of a Redis Cluster key that is hashed: what stands
// between the first "{" and the first "}" after it if that is not empty, else
// the whole key. Keys with one tag share a slot.
func Tag(key string) string {
	_, rest, ok := strings.Cut(key, "{")
	if !ok {
		return key
	}
	tag, _, ok := strings.Cut(rest, "}")
	if !ok || tag == "" {
		return key
	}
	return tag
}

// Slot returns the Redis Cluster slot of a key, CRC16(Tag(key)) % 16384. The
// empty key has slot 0.
func Slot(key string) int { return int(crc16(Tag(key)) % redisSlots) }
