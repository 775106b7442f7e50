-- KEYS: bus. ARGV: message, pubsub, length of the log, counter. Returns the
-- position.
return publish(KEYS[1], ARGV[2], ARGV[3], ARGV[4], ARGV[1])
