//! What an address says of its user, kept apart from the address.
//!
//! `git` is told it for this one host, through its environment: it is in no argument, which
//! others on the machine can read, and in no file of the checkout.

/// A user, and the one place that is shown to.
#[derive(Debug)]
pub(super) struct Credentials {
    /// Scheme, host and port.
    origin: String,
    user: String,
    password: Option<String>,
}

/// The variables that a helper of `git` reads.
const USER: &str = "BAKEHOUSE_GIT_USER";
const PASSWORD: &str = "BAKEHOUSE_GIT_PASSWORD";

impl Credentials {
    /// The address without a user, and the user. Over ssh a name stays where it is, for it says
    /// as whom to log in, and nobody takes a password from an address.
    pub(super) fn split(remote: &str) -> (String, Option<Self>) {
        let Some((scheme, rest)) = remote.split_once("://") else {
            return (remote.to_owned(), None);
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let Some(at) = rest[..end].rfind('@') else { return (remote.to_owned(), None) };
        let (info, host) = (&rest[..at], &rest[at + 1..]);
        let (user, password) = match info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (info, None),
        };
        if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
            return (format!("{scheme}://{user}@{host}"), None);
        }
        let origin = format!("{scheme}://{}", &rest[at + 1..end]);
        let credentials = Self { origin, user: decoded(user), password: password.map(decoded) };
        (format!("{scheme}://{host}"), Some(credentials))
    }

    /// The variables that tell `git`, which knows `count` settings from its environment already.
    pub(super) fn variables(&self, count: usize) -> Vec<(String, String)> {
        let key = |name: &str| format!("credential.{}.{name}", self.origin);
        let (settings, mut variables) = match &self.password {
            None => (vec![(key("username"), self.user.clone())], Vec::new()),
            Some(password) => {
                let print = r"printf 'username=%s\npassword=%s\n'";
                let helper = format!("!{print} \"${USER}\" \"${PASSWORD}\"; :");
                // The helpers of the user are not asked, and do not get to keep what is not theirs.
                let settings = vec![(key("helper"), String::new()), (key("helper"), helper)];
                let told = [(USER, &self.user), (PASSWORD, password)];
                (settings, told.map(|(name, value)| (name.to_owned(), value.clone())).to_vec())
            }
        };
        variables.push(("GIT_CONFIG_COUNT".to_owned(), (count + settings.len()).to_string()));
        for (at, (key, value)) in settings.into_iter().enumerate() {
            let number = count + at;
            variables.push((format!("GIT_CONFIG_KEY_{number}"), key));
            variables.push((format!("GIT_CONFIG_VALUE_{number}"), value));
        }
        // Neither can be handed on: no name and no password has such characters.
        let fits = |text: &str| !text.contains(['\n', '\0']);
        if fits(&self.user) && self.password.as_deref().is_none_or(fits) {
            variables
        } else {
            Vec::new()
        }
    }
}

/// Text as it is meant by the user part of an address.
fn decoded(text: &str) -> String {
    bakehouse_plan::gitaddress::decoded(text, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_taken_out_of_addresses() {
        let cases = [
            ("https://host/x.git", "https://host/x.git", None),
            ("https://u:p%40s@host:8/x.git", "https://host:8/x.git", Some("https://host:8 u p@s")),
            ("https://u:p@s@host/x.git", "https://host/x.git", Some("https://host u p@s")),
            ("http://token@host/@x.git", "http://host/@x.git", Some("http://host token -")),
            ("HTTPS://u:@host/x.git", "HTTPS://host/x.git", Some("HTTPS://host u ")),
            ("ssh://git:p@host/x", "ssh://git@host/x", None),
            ("git@host:x", "git@host:x", None),
        ];
        for (remote, address, expected) in cases {
            let (found, credentials) = Credentials::split(remote);
            let told = credentials.map(|it| {
                format!("{} {} {}", it.origin, it.user, it.password.as_deref().unwrap_or("-"))
            });
            assert_eq!((found.as_str(), told.as_deref()), (address, expected), "{remote}");
        }
    }

    #[test]
    fn what_cannot_be_handed_on_is_left_out() {
        let variables = |remote: &str| Credentials::split(remote).1.unwrap().variables(3);
        assert!(variables("https://u:a%0Apath=x@host/x.git").is_empty());
        assert!(variables("https://u%00:a@host/x.git").is_empty());
        let told = variables("https://u:a@host/x.git");
        assert!(told.contains(&("GIT_CONFIG_COUNT".to_owned(), "5".to_owned())), "{told:?}");
    }
}
