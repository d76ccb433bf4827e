#!/bin/sh
# A database server that is told as the official images are: MYSQL_ROOT_PASSWORD, MYSQL_DATABASE, MYSQL_USER and MYSQL_PASSWORD, or
# the files that MYSQL_ROOT_PASSWORD_FILE and so on name. The first start makes the database, later ones find it.
set -eu
data=/var/lib/mysql
options="--no-defaults --user=root --basedir=/usr --datadir=$data --innodb-buffer-pool-size=16M --innodb-log-file-size=4M"

value() { # NAME
  local file content
  eval "file=\${$1_FILE:-} content=\${$1:-}"
  if [ -n "$file" ] && [ -n "$content" ]; then
    echo "both $1 and $1_FILE are set" >&2
    exit 1
  fi
  if [ -n "$file" ]; then cat "$file"; else printf '%s' "$content"; fi
}

quoted() { # TEXT
  printf "'%s'" "$(printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"
}

first_start() {
  local root database user password
  root=$(value MYSQL_ROOT_PASSWORD)
  database=$(value MYSQL_DATABASE)
  user=$(value MYSQL_USER)
  password=$(value MYSQL_PASSWORD)
  if [ -z "$root" ]; then
    echo 'MYSQL_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD_FILE must be set' >&2
    exit 1
  fi
  rm -rf "${data:?}"/*
  {
    printf 'create database mysql;\nuse mysql;\n'
    cat /usr/share/mysql/mysql_system_tables.sql /usr/share/mysql/mysql_system_tables_data.sql
    echo 'flush privileges;'
    echo "create user 'root'@'%' identified by $(quoted "$root");"
    echo "grant all on *.* to 'root'@'%' with grant option;"
    if [ -n "$database" ]; then echo "create database \`$database\`;"; fi
    if [ -n "$user" ]; then
      echo "create user '$user'@'%' identified by $(quoted "$password");"
      echo "grant all on \`$database\`.* to '$user'@'%';"
    fi
  } | mariadbd $options --bootstrap
  touch $data/.made
}

[ -e $data/.made ] || first_start
exec mariadbd $options --socket=/run/mysqld.sock --skip-name-resolve
