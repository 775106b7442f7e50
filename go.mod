module github.com/keelson-go/keelson

go 1.26.0
