<?php
// A site in the way of WordPress: told by WORDPRESS_DB_HOST, _USER, _NAME and _PASSWORD, or files that their _FILE twins name; all it
// knows is in its database, sessions too, so that any of its tasks may answer. Whoever comes first installs it.
declare(strict_types=1);

function setting(string $name, string $default): string
{
    $file = getenv("WORDPRESS_DB_{$name}_FILE");
    if ($file !== false) {
        return rtrim((string) file_get_contents($file), "\n");
    }
    $value = getenv("WORDPRESS_DB_$name");
    return $value === false ? $default : $value;
}

function page(string $title, string $body, int $status = 200): never
{
    http_response_code($status);
    echo "<!doctype html>\n<html><head><title>$title</title></head><body>\n$body\n</body></html>\n";
    exit();
}

function go(string $path): never
{
    header("Location: $path", true, 302);
    exit();
}

function connect(): mysqli
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    [$host, $port] = explode(':', setting('HOST', 'mysql') . ':3306');
    try {
        $password = setting('PASSWORD', '');
        return new mysqli($host, setting('USER', 'root'), $password, setting('NAME', 'wordpress'), (int) $port);
    } catch (mysqli_sql_exception $why) {
        error_log($why->getMessage());
        page('Database Error', '<h1>Error establishing a database connection</h1>', 500);
    }
}

function install(mysqli $db): never
{
    $title = $_POST['weblog_title'] ?? '';
    if ($title === '') {
        page('Installation', '<form method="post"><input name="weblog_title"></form>');
    }
    $db->query('create table if not exists wp_sessions (id varchar(64) primary key, user varchar(64) not null)');
    $db->query('create table if not exists wp_options (name varchar(64) primary key, value text not null)');
    $db->execute_query("insert ignore into wp_options values ('blogname', ?)", [$title]);
    $session = bin2hex(random_bytes(16));
    $db->execute_query("insert into wp_sessions values (?, 'admin')", [$session]);
    setcookie('wordpress_logged_in', $session, ['path' => '/', 'httponly' => true]);
    go('/');
}

$db = connect();
$isInstalled = $db->query("show tables like 'wp_options'")->num_rows === 1;
if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) === '/wp-admin/install.php') {
    $isInstalled ? go('/') : install($db);
}
if (!$isInstalled) {
    go('/wp-admin/install.php');
}
[$title] = $db->query("select value from wp_options where name = 'blogname'")->fetch_row();
$session = $_COOKIE['wordpress_logged_in'] ?? '';
[$user] = $db->execute_query('select user from wp_sessions where id = ?', [$session])->fetch_row() ?? ['stranger'];
$title = htmlspecialchars($title);
page($title, "<h1>$title</h1>\n<p>Howdy, $user</p>\n<p>by " . gethostname() . '</p>');
